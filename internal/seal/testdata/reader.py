#!/usr/bin/env python3
"""Reads Keyward's formats as docs/formats.md describes them, and checks the
test vectors. It is independent of the server: Python's standard library for
HMAC and SHA-2, and its own AES and GHASH. It is slow and not constant-time; it
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
