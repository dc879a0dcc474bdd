package run

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable returns text without what a terminal would act on.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, text)
}

// shorten returns what a person reads of a text.
func shorten(text string) string {
	text = printable(text)
	if utf8.RuneCountInString(text) <= maxMessage {
		return text
	}
	return string([]rune(text)[:maxMessage-1]) + "…"
}
