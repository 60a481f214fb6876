package xlcfg

import (
	"fmt"
	"strconv"
	"strings"
)

type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokSep           // newline or ;
	tokIdent
	tokNumber
	tokString
	tokAssign // =
	tokAppend // +=
	tokOpen   // [
	tokClose  // ]
	tokComma
)

type token struct {
	kind tokenKind
	text string // as written; of a string, what it means
	pos  Pos
	// quote is how many bytes of quotes stand before a string that is written as
	// it is meant, on one line; 0 for all others.
	quote int
}

// String names the token for an error message.
func (t token) String() string {
	switch t.kind {
	case tokEOF:
		return "the end"
	case tokSep:
		if t.text == ";" {
			return `";"`
		}
		return "the end of the line"
	case tokString:
		return "the string " + strconv.Quote(shorten(t.text))
	}
	return strconv.Quote(shorten(t.text))
}

func shorten(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

type lexer struct {
	src       string
	off       int
	file      string
	line      int
	lineStart int
}

func (l *lexer) pos() Pos { return Pos{l.file, l.line, l.off - l.lineStart + 1} }

func errorf(p Pos, format string, args ...any) *Error {
	return &Error{p, fmt.Sprintf(format, args...)}
}

func isIdentStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// newline steps over a line end, which is \n or \r\n.
func (l *lexer) newline() {
	l.off++
	l.line++
	l.lineStart = l.off
}

func (l *lexer) skipBlanks() {
	for l.off < len(l.src) {
		switch c := l.src[l.off]; {
		case c == ' ' || c == '\t' || c == '\f':
			l.off++
		case c == '\r' && strings.HasPrefix(l.src[l.off:], "\r\n"):
			l.off++
		case c == '#':
			for l.off < len(l.src) && l.src[l.off] != '\n' {
				l.off++
			}
		default:
			return
		}
	}
}

func (l *lexer) next() (token, *Error) {
	l.skipBlanks()
	t := token{pos: l.pos()}
	if l.off >= len(l.src) {
		return t, nil
	}
	start := l.off
	c := l.src[l.off]
	one := func(k tokenKind) (token, *Error) {
		l.off++
		t.kind, t.text = k, l.src[start:l.off]
		return t, nil
	}
	switch {
	case c == '\n':
		t.kind, t.text = tokSep, "\n"
		l.newline()
		return t, nil
	case c == ';':
		return one(tokSep)
	case c == '=':
		return one(tokAssign)
	case c == '[':
		return one(tokOpen)
	case c == ']':
		return one(tokClose)
	case c == ',':
		return one(tokComma)
	case c == '+' && strings.HasPrefix(l.src[l.off:], "+="):
		l.off++
		return one(tokAppend)
	case c == '"' || c == '\'':
		return l.str(c)
	case isIdentStart(c):
		for l.off < len(l.src) && (isIdentStart(l.src[l.off]) || isDigit(l.src[l.off])) {
			l.off++
		}
		t.kind, t.text = tokIdent, l.src[start:l.off]
		return t, nil
	case isDigit(c) || c == '-' && l.off+1 < len(l.src) && isDigit(l.src[l.off+1]):
		l.off++
		for l.off < len(l.src) && (isIdentStart(l.src[l.off]) || isDigit(l.src[l.off])) {
			l.off++
		}
		t.kind, t.text = tokNumber, l.src[start:l.off]
		return t, nil
	}
	if c < ' ' || c >= 0x7f {
		return t, errorf(t.pos, "unexpected byte 0x%02x; is this a text file?", c)
	}
	return t, errorf(t.pos, "unexpected %q; a line is key = value, and text values need quotes", c)
}

// str reads a string in quotes q, or in triple quotes, which may span lines.
func (l *lexer) str(q byte) (token, *Error) {
	t := token{kind: tokString, pos: l.pos()}
	end := string(q)
	triple := strings.HasPrefix(l.src[l.off:], strings.Repeat(end, 3))
	if triple {
		end = strings.Repeat(end, 3)
	}
	l.off += len(end)
	start := l.off
	var b strings.Builder
	for l.off < len(l.src) {
		c := l.src[l.off]
		switch {
		case strings.HasPrefix(l.src[l.off:], end):
			l.off += len(end)
			t.text = b.String()
			if raw := l.src[start : l.off-len(end)]; raw == t.text && !strings.Contains(raw, "\n") {
				t.quote = len(end)
			}
			return t, nil
		case c == '\n' && !triple:
			return t, unclosed(t.pos, end)
		case c == '\n':
			b.WriteByte(c)
			l.newline()
		case c == 0:
			return t, errorf(l.pos(), "a string can't hold a zero byte; remove it")
		case c == '\\':
			if err := l.escape(&b); err != nil {
				return t, err
			}
		default:
			b.WriteByte(c)
			l.off++
		}
	}
	return t, unclosed(t.pos, end)
}

func unclosed(p Pos, quote string) *Error {
	if len(quote) == 1 {
		return errorf(p, "the string that starts here isn't closed on its line; add %s", quote)
	}
	return errorf(p, "the string that starts here is never closed; add %s", quote)
}

const escapes = "a\ab\bf\fn\nr\rt\tv\v\\\\''\"\""

// escape reads a backslash sequence, as C has them.
func (l *lexer) escape(b *strings.Builder) *Error {
	at := l.pos()
	l.off++
	if l.off >= len(l.src) {
		return errorf(at, "the file ends after a backslash")
	}
	c := l.src[l.off]
	digits, base, from := 0, 8, l.off
	switch {
	case c == '\n':
		l.newline()
		return nil
	case c == 'x':
		base, from = 16, l.off+1
		for digits < 2 && from+digits < len(l.src) && isHex(l.src[from+digits]) {
			digits++
		}
	case c >= '0' && c <= '7':
		for digits < 3 && from+digits < len(l.src) && l.src[from+digits] >= '0' && l.src[from+digits] <= '7' {
			digits++
		}
	default:
		for i := 0; i < len(escapes); i += 2 {
			if escapes[i] == c {
				b.WriteByte(escapes[i+1])
				l.off++
				return nil
			}
		}
		return errorf(at, "unknown escape \\%c in a string; write \\\\ for a backslash", c)
	}
	v, err := strconv.ParseUint(l.src[from:from+digits], base, 8)
	if err != nil || v == 0 {
		return errorf(at, "a \\ escape needs the code of a character, 1 to 255; write \\\\ for a backslash")
	}
	b.WriteByte(byte(v))
	l.off = from + digits
	return nil
}

func isHex(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
