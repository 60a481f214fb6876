package xlcfg

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"nidus/rpc/control"
)

// SpecError is a defect of a device's specification, as ParseDisk, ParseVIF and
// ParsePCI read it. errors.Is(err, control.ErrBadConfig) holds.
type SpecError struct {
	// Off is where in the specification, in bytes from 0.
	Off int
	// Msg says what is wrong and what to do.
	Msg string
}

// Error gives the message; the place only makes sense beside the specification.
func (e *SpecError) Error() string { return e.Msg }

// Unwrap gives the kind of the error.
func (e *SpecError) Unwrap() error { return control.ErrBadConfig }

func specErrorf(off int, format string, args ...any) error {
	return &SpecError{off, fmt.Sprintf(format, args...)}
}

// param is one part of a specification between commas.
type param struct {
	key   string // "" if there was no =
	text  string // the value, or all of it; without blanks around
	off   int    // of text
	start int    // of the whole part
}

// params cuts a specification at its commas. A key that rest names takes all
// that follows it, commas and blanks too.
func params(spec, rest string) []param {
	var out []param
	for off := 0; off <= len(spec); {
		part, _, _ := strings.Cut(spec[off:], ",")
		start := off + len(part) - len(strings.TrimLeft(part, " \t"))
		key, value, named := strings.Cut(spec[start:off+len(part)], "=")
		p := param{start: start, off: start}
		next := off + len(part) + 1
		if named = named && isWord(strings.TrimSpace(key)); named {
			p.key = strings.TrimSpace(key)
			p.off = start + len(key) + 1
			if p.key == rest {
				value, next = spec[p.off:], len(spec)+1
				p.text = value
			}
		} else {
			value = spec[start : off+len(part)]
		}
		if p.key == "" || p.key != rest {
			trimmed := strings.TrimLeft(value, " \t")
			p.off += len(value) - len(trimmed)
			p.text = strings.TrimRight(trimmed, " \t")
		}
		out = append(out, p)
		off = next
	}
	return out
}

// isWord tells whether s can be a parameter's name (xl-disk-configuration(5),
// Special syntax): a letter, then letters, digits, - and _.
func isWord(s string) bool {
	for i := range len(s) {
		if !isIdentStart(s[i]) && (i == 0 || !isDigit(s[i]) && s[i] != '-') {
			return false
		}
	}
	return s != ""
}

// chosen returns the index of a parameter's value in words.
func (p param) chosen(words ...string) (int, error) {
	if i := slices.Index(words, p.text); i >= 0 {
		return i, nil
	}
	return 0, p.unknown("unknown "+p.key, words)
}

// unknown is the error of a word that is none of words.
func (p param) unknown(what string, words []string) error {
	if near := suggest(p.text, words); near != "" {
		return specErrorf(p.off, "%s %q, did you mean %q?", what, shorten(p.text), near)
	}
	return specErrorf(p.off, "%s %q; use one of %s", what, shorten(p.text), strings.Join(words, ", "))
}

// badKey is the error of a parameter that there is not.
func (p param) badKey(kind string, keys []string) error {
	q := p
	q.text, q.off = p.key, p.start
	return q.unknown("unknown "+kind+" parameter", keys)
}

// number returns a parameter's value from 0 to limit.
func (p param) number(limit int64) (int, error) {
	n, err := parseNumber(p.text)
	if err != nil {
		return 0, specErrorf(p.off, "%s=%q: %v", p.key, shorten(p.text), err)
	}
	if n < 0 || n > limit {
		return 0, specErrorf(p.off, "%s=%d is out of range; use 0 to %d", p.key, n, limit)
	}
	return int(n), nil
}

// flag returns a parameter's value as xl's booleans are written in specifications.
func (p param) flag() (bool, error) {
	b, err := strconv.ParseBool(p.text)
	if err != nil {
		return false, specErrorf(p.off, "%s=%q is neither 0 nor 1", p.key, shorten(p.text))
	}
	return b, nil
}
