package run

import (
	"bytes"
	"math"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// eachReading calls read with all that text may say: the text itself, and what
// it or parts of it are when an encoding is undone. The func place tells where
// the bytes from, …, to-1 of such a reading stand in text.
//
// It works alike on text that is encoded and on text that only looks so.
func eachReading(text []byte, read func(reading []byte, place func(from, to int) (int, int))) {
	read(text, func(from, to int) (int, int) { return from, to })
	if percent, plus := bytes.IndexByte(text, '%') >= 0, bytes.IndexByte(text, '+') >= 0; percent || plus {
		if percent {
			readUnits(text, func(text []byte) ([]byte, int) { return unpercent(text, false) }, read)
		}
		if plus {
			readUnits(text, func(text []byte) ([]byte, int) { return unpercent(text, true) }, read)
		}
	}
	if bytes.IndexByte(text, '\\') >= 0 {
		readUnits(text, unescape, read)
	}
	readHex(text, read)
	readBase64(text, read)
}

// readUnits reads text as next does, which returns what the beginning of a text
// stands for, and how long that beginning is.
func readUnits(text []byte, next func([]byte) ([]byte, int), read func([]byte, func(from, to int) (int, int))) {
	reading := make([]byte, 0, len(text))
	at := make([]int32, 0, len(text)+1) // where each byte of the reading stands
	for i := 0; i < len(text); {
		unit, size := next(text[i:])
		for range unit {
			at = append(at, int32(i))
		}
		reading = append(reading, unit...)
		i += size
	}
	at = append(at, int32(len(text)))
	read(reading, func(from, to int) (int, int) { return int(at[from]), int(at[to]) })
}

// unpercent undoes URL encoding, in queries and forms (plus) or in paths.
func unpercent(text []byte, plus bool) (unit []byte, size int) {
	switch {
	case text[0] == '%' && len(text) >= 3 && hexDigit[text[1]] >= 0 && hexDigit[text[2]] >= 0:
		return []byte{byte(hexDigit[text[1]]<<4 | hexDigit[text[2]])}, 3
	case text[0] == '+' && plus:
		return []byte{' '}, 1
	}
	return text[:1], 1
}

// unescape undoes what JSON, and most languages, do to a text in quotes.
func unescape(text []byte) (unit []byte, size int) {
	if text[0] != '\\' || len(text) < 2 {
		return text[:1], 1
	}
	if r, ok := escaped(text); ok {
		size = 6
		if low, ok := escaped(text[6:]); ok && utf16.IsSurrogate(r) {
			if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
				r, size = both, 12
			}
		}
		return utf8.AppendRune(nil, r), size
	}
	const letters, meant = `"\/'bfnrt`, "\"\\/'\b\f\n\r\t"
	if i := bytes.IndexByte([]byte(letters), text[1]); i >= 0 {
		return []byte{meant[i]}, 2
	}
	return text[:1], 1
}

// escaped returns the character of the \uXXXX that text begins with.
func escaped(text []byte) (r rune, ok bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	for _, b := range text[2:6] {
		digit := hexDigit[b]
		if digit < 0 {
			return 0, false
		}
		r = r<<4 | rune(digit)
	}
	return r, true
}

// brokenEscape returns the length of the URL or JSON escape that text breaks off
// in.
func brokenEscape(text []byte) int {
	const longest = len(`\ud83d\ude0`)
	end := text[max(0, len(text)-longest):]
	for i, b := range end {
		if b == '\\' && isBroken(end[i+1:]) {
			return len(end) - i
		}
	}
	if i := bytes.LastIndexByte(end, '%'); i >= 0 && len(end)-i < 3 && isHex(end[i+1:]) {
		return len(end) - i
	}
	return 0
}

// isBroken reports whether text is the beginning of a JSON escape, after its
// first backslash, or of two that make one character.
func isBroken(text []byte) bool {
	if len(text) == 0 {
		return true
	}
	digits := text[1:min(len(text), 5)]
	if text[0] != 'u' || !isHex(digits) {
		return false
	}
	if len(text) < 5 {
		return true
	}
	r, _ := escaped(append([]byte{'\\'}, text...))
	more := text[5:]
	const low = 0xdc00 // from here on they are the second of two
	return utf16.IsSurrogate(r) && r < low && (len(more) == 0 || more[0] == '\\' && len(more) < 6 && isBroken(more[1:]))
}

func isHex(text []byte) bool {
	return !slices.ContainsFunc(text, func(b byte) bool { return hexDigit[b] < 0 })
}

// readHex reads what could be hex, with or without line ends, from an even and
// from an odd place.
func readHex(text []byte, read func([]byte, func(from, to int) (int, int))) {
	eachRun(text, &hexDigit, 2, func(digits []byte, at []int32) {
		for first := range 2 {
			reading := make([]byte, (len(digits)-first)/2)
			for i := range reading {
				reading[i] = byte(digits[first+2*i]<<4 | digits[first+2*i+1])
			}
			read(reading, func(from, to int) (int, int) { return int(at[first+2*from]), int(at[first+2*to-1]) + 1 })
		}
	})
}

// readBase64 reads what could be base64, of either alphabet, with or without
// padding and line ends, from each place that a group of four may begin at.
func readBase64(text []byte, read func([]byte, func(from, to int) (int, int))) {
	eachRun(text, &base64Digit, 8./6, func(digits []byte, at []int32) {
		reading := make([]byte, 0, len(digits))
		for first := range min(4, len(digits)) {
			reading = reading[:0]
			acc, bits := uint32(0), 0
			for _, digit := range digits[first:] {
				acc, bits = acc<<6|uint32(digit), bits+6
				if bits >= 8 {
					bits -= 8
					reading = append(reading, byte(acc>>bits))
				}
			}
			// All digits that hold a bit of the bytes.
			read(reading, func(from, to int) (int, int) {
				return int(at[first+from*8/6]), int(at[first+(to*8-1)/6]) + 1
			})
		}
	})
}

// eachRun calls read with the values of digits that stand one after the other,
// with nothing but line ends between them, and with the place of each; of runs
// that are long enough to hold a secret, or the beginning of one at the end of
// text. A byte takes so many digits.
func eachRun(text []byte, digit *[256]int16, perByte float64, read func(digits []byte, at []int32)) {
	least := func(bytes int) int { return int(math.Ceil(float64(bytes) * perByte)) }
	whole, open := least(leastValue), least(leastOpen)
	var digits []byte
	var at []int32
	for begin := 0; begin < len(text); begin++ {
		end, n := begin, 0
		for ; end < len(text); end++ {
			if digit[text[end]] >= 0 {
				n++
			} else if text[end] != '\n' && text[end] != '\r' {
				break
			}
		}
		if n >= whole || end == len(text) && n >= open {
			digits, at = slices.Grow(digits[:0], n), slices.Grow(at[:0], n)
			for i, b := range text[begin:end] {
				if digit[b] >= 0 {
					digits, at = append(digits, byte(digit[b])), append(at, int32(begin+i))
				}
			}
			read(digits, at)
		}
		begin = end
	}
}

var hexDigit, base64Digit = digitsOf("0123456789abcdef", "0123456789ABCDEF"), digitsOf(
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
)

// digitsOf returns the value of each byte as a digit of either alphabet, or -1.
func digitsOf(alphabets ...string) (values [256]int16) {
	for b := range values {
		values[b] = -1
	}
	for _, digits := range alphabets {
		for i, b := range []byte(digits) {
			values[b] = int16(i)
		}
	}
	return values
}
