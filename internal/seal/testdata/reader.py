#!/usr/bin/env python3
"""Reads Keyward's formats as docs/formats.md describes them, and checks the
test vectors. It is independent of the server: Python's standard library for
HMAC, SHA-2 and SHA-3, and its own AES, GHASH, P-256 and ML-KEM-768. It is slow and not constant-time; it
is for checking, and for the day on which the server is gone and the data is
not.

    reader.py vectors.json
"""
import base64
import hashlib
import hmac
import json
import re
import struct
import sys
import zlib

FORMAT = 1
HEAD = 1 + 4 + 32 + 32  # format, root version, salt, commitment
MAX_SESSION = 4 << 20


class Refused(Exception):
    pass


# --- bricks -----------------------------------------------------------------

def tuple_(*elements):
    out = struct.pack(">I", len(elements))
    for e in elements:
        out += struct.pack(">I", len(e)) + e
    return out


def extract(secret, salt):
    return hmac.new(salt, secret, "sha512").digest()


def expand(prk, info, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([counter]), "sha512").digest()
        out, counter = out + block, counter + 1
    return out[:length]


def mac(key, message):
    return hmac.new(key, message, "sha512_256").digest()


def u32(n):
    return struct.pack(">I", n)


def u64(n):
    return struct.pack(">Q", n & (1 << 64) - 1)


# --- AES-256-GCM ------------------------------------------------------------

def xtime(a):
    return (a << 1 ^ (0x11B if a & 0x80 else 0)) & 0xFF


def make_sbox():
    exp, x = [], 1
    for _ in range(255):  # the powers of 3
        exp.append(x)
        x ^= xtime(x)
    log = {v: i for i, v in enumerate(exp)}
    box = []
    for a in range(256):
        b = exp[-log[a] % 255] if a else 0
        s = 0x63
        for shift in range(5):
            s ^= (b << shift | b >> 8 - shift) & 0xFF
        box.append(s)
    return box


SBOX = make_sbox()
DOUBLE = [xtime(a) for a in range(256)]


def expand_key(key):
    words = [list(key[i:i + 4]) for i in range(0, 32, 4)]
    rcon = 1
    for i in range(8, 60):
        w = words[i - 1]
        if i % 8 == 0:
            w = [SBOX[b] for b in w[1:] + w[:1]]
            w[0] ^= rcon
            rcon = xtime(rcon)
        elif i % 8 == 4:
            w = [SBOX[b] for b in w]
        words.append([a ^ b for a, b in zip(words[i - 8], w)])
    return [sum(words[i:i + 4], []) for i in range(0, 60, 4)]


def encrypt_block(keys, block):
    s = [a ^ b for a, b in zip(block, keys[0])]
    for rnd, key in enumerate(keys[1:], 1):
        s = [SBOX[s[(i + 4 * (i % 4)) % 16]] for i in range(16)]  # with the rows shifted
        if rnd < 14:
            mixed = []
            for c in range(0, 16, 4):
                col, all_ = s[c:c + 4], s[c] ^ s[c + 1] ^ s[c + 2] ^ s[c + 3]
                mixed += [col[i] ^ all_ ^ DOUBLE[col[i] ^ col[(i + 1) % 4]] for i in range(4)]
            s = mixed
        s = [a ^ b for a, b in zip(s, key)]
    return bytes(s)


def ghash(h, data):
    table, v = [], h  # h times each power of x
    for _ in range(128):
        table.append(v)
        v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
    y = 0
    for i in range(0, len(data), 16):
        y ^= int.from_bytes(data[i:i + 16], "big")
        z = 0
        for bit in range(128):
            if y >> 127 - bit & 1:
                z ^= table[bit]
        y = z
    return y


def gcm_open(key, sealed, aad):
    nonce, text, tag = sealed[:12], sealed[12:-16], sealed[-16:]
    keys = expand_key(key)
    h = int.from_bytes(encrypt_block(keys, bytes(16)), "big")

    def whole(b):
        return b + bytes(-len(b) % 16)

    s = ghash(h, whole(aad) + whole(text) + u64(8 * len(aad)) + u64(8 * len(text)))
    want = s ^ int.from_bytes(encrypt_block(keys, nonce + u32(1)), "big")
    if not hmac.compare_digest(want.to_bytes(16, "big"), tag):
        raise Refused("GCM tag")
    out = bytearray()
    for i in range(0, len(text), 16):
        stream = encrypt_block(keys, nonce + u32(2 + i // 16))
        out += bytes(a ^ b for a, b in zip(text[i:i + 16], stream))
    return bytes(out)


# --- boxes ------------------------------------------------------------------

def padded_size(n):
    n += 4
    if n <= 128:
        return 128
    if n <= 4096:
        return 1 << (n - 1).bit_length()
    return -(-n // 4096) * 4096


def unpad(padded):
    if len(padded) < 4:
        raise Refused("no length")
    n = struct.unpack(">I", padded[:4])[0]
    if n > MAX_SESSION or len(padded) != padded_size(n) or any(padded[4 + n:]):
        raise Refused("padding")
    return padded[4:4 + n]


def open_box(parent, label, version, box, context, commitment=True):
    if not HEAD + 28 <= len(box) <= HEAD + 28 + padded_size(MAX_SESSION):
        raise Refused("size")
    if box[:5] != bytes([FORMAT]) + u32(version):
        raise Refused("format or root version")
    place = tuple_(label, bytes([FORMAT]), u32(version), *context)
    both = expand(extract(parent, box[5:37]), place, 64)
    if commitment and not hmac.compare_digest(both[32:], box[37:69]):
        raise Refused("commitment")
    return unpad(gcm_open(both[:32], box[69:], place))


# --- root key ---------------------------------------------------------------

def parse_root(text):
    """Returns {version: key}."""
    keys = {}
    for line in text.split("\n"):
        words = line.split()
        if not words:
            continue
        if len(words) != 4 or words[0] != "kwroot1":
            raise Refused("form")
        version, id_, b64 = words[1:]
        if not (version.isascii() and version.isdigit() and version[0] != "0" and int(version) < 1 << 31):
            raise Refused("version")
        key = decode64(b64, base64.b64decode, base64.b64encode)
        if len(key) != 32 or root_id(key) != id_:
            raise Refused("key or id")
        if int(version) in keys or key in keys.values():
            raise Refused("twice")
        keys[int(version)] = key
    if not keys:
        raise Refused("empty")
    return keys


def decode64(text, decode, encode):
    """Decodes the one spelling that base64 has for these bytes."""
    try:
        raw = decode(text)
    except ValueError:
        raise Refused("base64")
    if encode(raw).decode() != text:
        raise Refused("base64")
    return raw


def root_prk(key):
    return extract(key, b"keyward root 1")


def root_id(key):
    return expand(root_prk(key), tuple_(b"root-id"), 8).hex()


def subkey(key, label):
    return expand(root_prk(key), tuple_(label), 32)


def open_root_box(keys, label, box, context):
    version = struct.unpack(">I", box[1:5])[0] if len(box) >= HEAD else 0
    if version not in keys:
        raise Refused("root version")
    return open_box(subkey(keys[version], label), label, version, box, context)


def check_tag(keys, label, version, tag, fields):
    if version not in keys:
        raise Refused("root version")
    if not hmac.compare_digest(mac(subkey(keys[version], label), tuple_(label, u32(version), *fields)), tag):
        raise Refused("tag")


# --- auth tokens, slots, profiles -------------------------------------------

def parse_token(text):
    """Returns locator and secret."""
    if len(text) != 60 or not text.startswith("kwt1"):
        raise Refused("form")
    raw = decode64(text, base64.urlsafe_b64decode, base64.urlsafe_b64encode)
    if u32(zlib.crc32(raw[:41])) != raw[41:]:
        raise Refused("checksum")
    return raw[3:11], raw[11:41]


def open_slot(keys, token, place, salt, sealed):
    secret = parse_token(token)[1]
    context = [b"slot", place["organization"].encode(), place["agent"].encode(), place["profile"].encode(),
               u64(place["epoch"]), place["kind"].encode(), u64(place["expires_at"])]
    inner = open_root_box(keys, b"profile-slot", sealed, context)
    kek = expand(extract(secret, salt), tuple_(b"slot-kek", *context), 32)
    return open_box(kek, b"slot-dek", 0, inner, context)


def open_profile(p):
    """Checks the manifest and returns the values and the session."""
    def digest(box):
        return hashlib.sha256(box).digest() if box else b""

    def text(name):
        return p[name].encode()

    dek, session = bytes.fromhex(p["dek"]), bytes.fromhex(p.get("session", ""))
    parts = [b"manifest", bytes([FORMAT]), text("organization"), text("agent"), text("profile"),
             u64(p["epoch"]), u64(p["revision"]), bytes([p["keep_session"]]), text("destination"),
             u64(p["session_revision"]), digest(session)]
    for f in sorted(p["fields"], key=lambda f: f["name"].encode()):
        parts += [f["name"].encode(), u64(f["revision"]), digest(bytes.fromhex(f["box"]))]
    key = expand(extract(dek, b""), tuple_(b"manifest"), 32)
    if not hmac.compare_digest(mac(key, tuple_(*parts)), bytes.fromhex(p["manifest"])):
        raise Refused("manifest")

    def read(kind, field, revision, box):
        return open_box(dek, b"profile-box", 0, box, [kind, text("organization"), text("agent"), text("profile"),
                                                      field, u64(revision), u64(p["epoch"])])

    values = {f["name"]: read(b"value", f["name"].encode(), f["revision"], bytes.fromhex(f["box"]))
              for f in p["fields"]}
    return values, read(b"session", b"", p["session_revision"], session) if session else None


# --- API keys, refresh tokens -----------------------------------------------

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def check_api_key(text):
    if not re.fullmatch(r"[a-z][a-z0-9]{1,9}_(live|temp)_[0-9A-Za-z]{38}", text):
        raise Refused("form")
    number = 0
    for c in text[-6:]:
        number = 62 * number + BASE62.index(c)
    if number != zlib.crc32(text[:-6].encode()):
        raise Refused("checksum")


def parse_refresh_token(text, family_key):
    """Returns family and number."""
    raw = decode64(text, lambda t: base64.urlsafe_b64decode(t + "="), lambda b: base64.urlsafe_b64encode(b).rstrip(b"="))
    if len(raw) != 53 or raw[0] != 1:
        raise Refused("form")
    if not hmac.compare_digest(mac(family_key, raw[17:21]), raw[21:]):
        raise Refused("MAC")
    return raw[1:17], struct.unpack(">I", raw[17:21])[0]


# --- P-256 ------------------------------------------------------------------

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
     0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)


def add_points(p, q):
    if p is None or q is None:
        return p or q
    if p[0] == q[0]:
        if (p[1] + q[1]) % P == 0:
            return None
        slope = (3 * p[0] ** 2 - 3) * pow(2 * p[1], -1, P)
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, P)
    x = (slope ** 2 - p[0] - q[0]) % P
    return x, (slope * (p[0] - x) - p[1]) % P


def multiply(k, p):
    out = None
    for bit in f"{k:b}":
        out = add_points(out, out)
        if bit == "1":
            out = add_points(out, p)
    return out


def read_point(b):
    x, y = int.from_bytes(b[1:33], "big"), int.from_bytes(b[33:], "big")
    if len(b) != 65 or b[0] != 4 or x >= P or y >= P or (y * y - x ** 3 + 3 * x - B) % P:
        raise Refused("point")
    return x, y


def write_point(p):
    return b"\x04" + p[0].to_bytes(32, "big") + p[1].to_bytes(32, "big")


# --- ML-KEM-768 (FIPS 203) --------------------------------------------------

Q, K, DU, DV = 3329, 3, 10, 4


def reversed7(i):
    return int(f"{i:07b}"[::-1], 2)


ZETAS = [pow(17, reversed7(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * reversed7(i) + 1, Q) for i in range(128)]


def ntt(f):
    f, i, step = list(f), 1, 128
    while step >= 2:
        for start in range(0, 256, 2 * step):
            for j in range(start, start + step):
                t = ZETAS[i] * f[j + step] % Q
                f[j], f[j + step] = (f[j] + t) % Q, (f[j] - t) % Q
            i += 1
        step //= 2
    return f


def inverse_ntt(f):
    f, i, step = list(f), 127, 2
    while step <= 128:
        for start in range(0, 256, 2 * step):
            for j in range(start, start + step):
                f[j], f[j + step] = (f[j] + f[j + step]) % Q, ZETAS[i] * (f[j + step] - f[j]) % Q
            i -= 1
        step *= 2
    return [x * 3303 % Q for x in f]  # 1/128


def times(f, g):
    out = []
    for i in range(128):
        a, b, c, d = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        out += [(a * c + b * d * GAMMAS[i]) % Q, (a * d + b * c) % Q]
    return out


def plus(f, g):
    return [(a + b) % Q for a, b in zip(f, g)]


def dot(fs, gs):
    out = [0] * 256
    for f, g in zip(fs, gs):
        out = plus(out, times(f, g))
    return out


def encode(f, d):
    return sum(x << d * i for i, x in enumerate(f)).to_bytes(32 * d, "little")


def decode(b, d):
    n = int.from_bytes(b, "little")
    return [n >> d * i & (1 << d) - 1 for i in range(256)]


def compress(f, d):
    return [((x << d + 1) + Q) // (2 * Q) % (1 << d) for x in f]


def decompress(f, d):
    return [(2 * x * Q + (1 << d)) >> d + 1 for x in f]


def pieces(b, size):
    return [b[i:i + size] for i in range(0, len(b), size)]


def sample_ntt(seed):
    stream, out, i = hashlib.shake_128(seed).digest(1536), [], 0
    while len(out) < 256:
        a, b, c = stream[i:i + 3]
        out += [x for x in (a + 256 * (b % 16), b // 16 + 16 * c) if x < Q]
        i += 3
    return out[:256]


def sample_noise(seed, n):
    bits = int.from_bytes(hashlib.shake_256(seed + bytes([n])).digest(128), "little")
    out = []
    for i in range(256):
        nibble = bits >> 4 * i & 15
        out.append(((nibble & 1) + (nibble >> 1 & 1) - (nibble >> 2 & 1) - (nibble >> 3)) % Q)
    return out


def matrix(rho):
    return [[sample_ntt(rho + bytes([j, i])) for j in range(K)] for i in range(K)]


def mlkem_key(seed):
    """Returns the encapsulation key and the secret vector."""
    both = hashlib.sha3_512(seed[:32] + bytes([K])).digest()
    rho, sigma = both[:32], both[32:]
    a = matrix(rho)
    s = [ntt(sample_noise(sigma, i)) for i in range(K)]
    e = [ntt(sample_noise(sigma, K + i)) for i in range(K)]
    t = [plus(dot(a[i], s), e[i]) for i in range(K)]
    return b"".join(encode(f, 12) for f in t) + rho, s


def mlkem_encrypt(public, m, r):
    t, a = [decode(b, 12) for b in pieces(public[:1152], 384)], matrix(public[1152:])
    y = [ntt(sample_noise(r, i)) for i in range(K)]
    u = [plus(inverse_ntt(dot([a[j][i] for j in range(K)], y)), sample_noise(r, K + i)) for i in range(K)]
    v = plus(plus(inverse_ntt(dot(t, y)), sample_noise(r, 2 * K)), decompress(decode(m, 1), 1))
    return b"".join(encode(compress(f, DU), DU) for f in u) + encode(compress(v, DV), DV)


def mlkem_decapsulate(seed, ciphertext):
    public, s = mlkem_key(seed)
    u = [ntt(decompress(decode(b, DU), DU)) for b in pieces(ciphertext[:32 * DU * K], 32 * DU)]
    v = decompress(decode(ciphertext[32 * DU * K:], DV), DV)
    m = encode(compress([(a - b) % Q for a, b in zip(v, inverse_ntt(dot(s, u)))], 1), 1)
    both = hashlib.sha3_512(m + hashlib.sha3_256(public).digest()).digest()
    if mlkem_encrypt(public, m, both[32:]) != ciphertext:
        return hashlib.shake_256(seed[32:] + ciphertext).digest(32)
    return both[:32]


# --- run keys ---------------------------------------------------------------

SUITE = b"HPKE" + bytes.fromhex("005000030002")  # MLKEM768-P256, HKDF-SHA-512, AES-256-GCM


def run_key_halves(seed):
    """Returns the seed of ML-KEM, the scalar of P-256, and the public half."""
    stream = hashlib.shake_256(seed).digest(64 + 32 * 16)
    scalars = [int.from_bytes(b, "big") for b in pieces(stream[64:], 32)]
    scalar = next(n for n in scalars if 0 < n < N)
    return stream[:64], scalar, mlkem_key(stream[:64])[0] + write_point(multiply(scalar, G))


def parse_run_keys(text):
    """Returns a list of ID, time and seed."""
    keys = []
    for line in text.split("\n"):
        words = line.split()
        if not words:
            continue
        if len(words) != 4 or words[0] != "kwrun1":
            raise Refused("form")
        id_, created, b64 = words[1:]
        if not re.fullmatch("0|[1-9][0-9]*", created) or int(created) > 1 << 34:
            raise Refused("time")
        seed = decode64(b64, base64.b64decode, base64.b64encode)
        if len(seed) != 32 or run_key_id(run_key_halves(seed)[2]).hex() != id_:
            raise Refused("key or id")
        if id_ in [k[0] for k in keys]:
            raise Refused("twice")
        keys.append((id_, int(created), seed))
    if not keys:
        raise Refused("empty")
    return keys


def run_key_id(public):
    return hashlib.sha256(tuple_(b"run-key", public)).digest()[:8]


def split_tuple(b):
    if len(b) < 4:
        raise Refused("tuple")
    count, at, out = struct.unpack(">I", b[:4])[0], 4, []
    for _ in range(count):
        if len(b) - at < 4:
            raise Refused("tuple")
        length = struct.unpack(">I", b[at:at + 4])[0]
        at += 4 + length
        if at > len(b):
            raise Refused("tuple")
        out.append(b[at - length:at])
    if at != len(b):
        raise Refused("tuple")
    return out


def hpke_open(seed, enc, info, ciphertext):
    mlkem_seed, scalar, public = run_key_halves(seed)
    point = read_point(enc[1088:])
    shared = hashlib.sha3_256(mlkem_decapsulate(mlkem_seed, enc[:1088]) + multiply(scalar, point)[0].to_bytes(32, "big")
                              + enc[1088:] + public[1184:] + b"MLKEM768-P256").digest()

    def labeled_extract(salt, label, ikm):
        return extract(b"HPKE-v1" + SUITE + label + ikm, salt)

    def labeled_expand(prk, label, info, length):
        return expand(prk, struct.pack(">H", length) + b"HPKE-v1" + SUITE + label + info, length)

    context = b"\0" + labeled_extract(b"", b"psk_id_hash", b"") + labeled_extract(b"", b"info_hash", info)
    secret = labeled_extract(shared, b"secret", b"")
    nonce = labeled_expand(secret, b"base_nonce", context, 12)
    return gcm_open(labeled_expand(secret, b"key", context, 32), nonce + ciphertext, b"")


def open_run_token(key, node, place, tokens):
    """Returns the token's text."""
    id_, _, seed = key
    label, *parts = split_tuple(tokens)
    if label != b"run-tokens" or len(parts) % 2:
        raise Refused("tokens")
    for name, sealed in zip(parts[::2], parts[1::2]):
        if name != node.encode():
            continue
        if len(sealed) != 1223 or sealed[0] != FORMAT or sealed[1:9].hex() != id_:
            raise Refused("form")
        info = tuple_(b"run-token", bytes([FORMAT]), name, sealed[1:9],
                      *(place[p].encode() for p in ("run", "organization", "agent", "profile")))
        text = base64.urlsafe_b64encode(hpke_open(seed, sealed[9:1162], info, sealed[1162:])).decode()
        parse_token(text)
        return text
    raise Refused("node")


def open_run_inputs(token, place, box):
    context = [place[p].encode() for p in ("organization", "agent", "run")]
    key = expand(extract(parse_token(token)[1], b""), tuple_(b"run-inputs-key", *context), 32)
    return open_box(key, b"run-inputs", 0, box, context)


# --- the vectors ------------------------------------------------------------

def main(path):
    with open(path, encoding="utf-8") as f:
        vectors = json.load(f)
    checked = 0

    def good(what, got, want):
        nonlocal checked
        checked += 1
        if got != want:
            sys.exit(f"{what}: {got!r}, want {want!r}")

    def bad(what, read, *args):
        nonlocal checked
        checked += 1
        try:
            read(*args)
        except Refused:
            return
        sys.exit(f"{what}: accepted")

    def unhex(list_):
        return [bytes.fromhex(h) for h in list_]

    for v in vectors["tuples"]:
        good("tuple", tuple_(*unhex(v["elements"])).hex(), v["tuple"])

    for v in vectors["roots"]:
        good("root key", {n: k.hex() for n, k in parse_root(v["text"]).items()},
             {r["version"]: r["key"] for r in v["versions"]})
        for r in v["versions"]:
            good("root id", root_id(bytes.fromhex(r["key"])), r["id"])
    for v in vectors["bad_roots"]:
        bad(v["why"], parse_root, v["text"])
    for v in vectors["subkeys"]:
        good("subkey", subkey(bytes.fromhex(v["root"]), v["label"].encode()).hex(), v["subkey"])

    for n, size in vectors["padded_sizes"]:
        good("padded size", padded_size(n), size)
    for v in vectors["padding"]:
        good("padding", unpad(bytes.fromhex(v["padded"])).hex(), v["plaintext"])
    for v in vectors["bad_padding"]:
        bad(v["why"], unpad, bytes.fromhex(v["padded"]))

    def read_box(v, box):
        label, context = v["label"].encode(), unhex(v["context"])
        if "root" in v:
            return open_root_box(parse_root(v["root"]), label, box, context)
        return open_box(bytes.fromhex(v["key"]), label, 0, box, context)

    for v in vectors["boxes"]:
        box = bytes.fromhex(v["box"])
        good("box", read_box(v, box).hex(), v["plaintext"])
        step = 7 if len(box) < 300 else 997  # 7 finds every byte, and is quick enough here
        for bit in range(0, 8 * len(box), step):
            flipped = bytearray(box)
            flipped[bit // 8] ^= 1 << bit % 8
            bad(f"box with bit {bit} flipped", read_box, v, bytes(flipped))
        for n in range(0, len(box), step):
            bad(f"box cut to {n} bytes", read_box, v, box[:n])
    for v in vectors["bad_boxes"]:
        bad(v["why"], read_box, v, bytes.fromhex(v["box"]))

    def read_tag(v):
        check_tag(parse_root(v["root"]), v["label"].encode(), v["version"], bytes.fromhex(v["tag"]), unhex(v["fields"]))

    for v in vectors["tags"]:
        good("tag", read_tag(v), None)
    for v in vectors["bad_tags"]:
        bad(v["why"], read_tag, v)

    for v in vectors["digests"]:
        good("digest", hashlib.sha256(tuple_(v["label"].encode(), *unhex(v["fields"]))).hexdigest(), v["digest"])

    for v in vectors["auth_tokens"]:
        good("auth token", [b.hex() for b in parse_token(v["text"])], [v["locator"], v["secret"]])
    for v in vectors["bad_auth_tokens"]:
        bad(v["why"], parse_token, v["text"])

    def read_slot(v):
        return open_slot(parse_root(v["root"]), v["token"], v["place"], bytes.fromhex(v["salt"]), bytes.fromhex(v["sealed"]))

    for v in vectors["slots"]:
        good("slot", read_slot(v).hex(), v["dek"])
    for v in vectors["bad_slots"]:
        bad(v["why"], read_slot, v)

    for v in vectors["profiles"]:
        values, session = open_profile(v)
        good("values", {n: b.hex() for n, b in values.items()}, {f["name"]: f["plaintext"] for f in v["fields"]})
        good("session", session.hex() if session else None, v.get("session_plaintext"))
    for v in vectors["bad_profiles"]:
        bad(v["why"], open_profile, v)

    for v in vectors["api_keys"]:
        good("API key", check_api_key(v["text"]), None)
    for v in vectors["bad_api_keys"]:
        bad(v["why"], check_api_key, v["text"])

    for v in vectors["refresh_tokens"]:
        family, number = parse_refresh_token(v["text"], bytes.fromhex(v["family_key"]))
        good("refresh token", [family.hex(), number], [v["family"], v["number"]])
    for v in vectors["bad_refresh_tokens"]:
        bad(v["why"], parse_refresh_token, v["text"], bytes.fromhex(v["family_key"]))

    for v in vectors["run_keys"]:
        keys = parse_run_keys(v["text"])
        good("run keys", [[i, c, s.hex(), run_key_halves(s)[2].hex()] for i, c, s in keys],
             [[k["id"], k["created"], k["seed"], k["public"]] for k in v["keys"]])
    for v in vectors["bad_run_keys"]:
        bad(v["why"], parse_run_keys, v["text"])

    def read_run_token(v):
        return open_run_token(parse_run_keys(v["run_key"])[0], v["node"], v["place"], bytes.fromhex(v["tokens"]))

    for v in vectors["run_tokens"]:
        good("run token", read_run_token(v), v["token"])
    for v in vectors["bad_run_tokens"]:
        bad(v["why"], read_run_token, v)

    def read_run_inputs(v):
        return open_run_inputs(v["token"], v["place"], bytes.fromhex(v["box"]))

    for v in vectors["run_inputs"]:
        good("run inputs", read_run_inputs(v).hex(), v["plaintext"])
    for v in vectors["bad_run_inputs"]:
        bad(v["why"], read_run_inputs, v)

    two = vectors["two_keys"]
    label, context = two["label"].encode(), unhex(two["context"])
    for i, v in enumerate(two["opens"]):
        key, box = bytes.fromhex(v["key"]), bytes.fromhex(v["box"])
        other = bytes.fromhex(two["opens"][1 - i]["box"])
        good("two keys", open_box(key, label, 0, box, context).hex(), v["plaintext"])
        good("two keys, commitment not looked at", open_box(key, label, 0, other, context, commitment=False).hex(), v["plaintext"])
        bad("the other key's box", open_box, key, label, 0, other, context)

    print(f"{checked} checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
