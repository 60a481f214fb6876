package vga

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestTerminal(t *testing.T) {
	const cols, rows, pitch = 10, 4, 24
	for _, c := range []struct {
		name, in, want string // lines joined by |, ends cut
		x, y           int
	}{
		{"plain", "ab", "ab", 2, 0},
		{"lf keeps the column", "ab\ncd", "ab|  cd", 4, 1},
		{"cr lf", "ab\r\ncd", "ab|cd", 2, 1},
		{"vt and ff are lf", "a\vb\fc", "a| b|  c", 3, 2},
		{"cr overwrites", "abc\rX", "Xbc", 1, 0},
		{"bs", "abc\b\bX", "aXc", 2, 0},
		{"bs at the left", "\b\bX", "X", 1, 0},
		{"tab", "a\tb", "a       b", 9, 0},
		{"tab stops at the last column", "a\t\t\tb", "a        b", 9, 0},
		{"bell, nul and del", "a\a\x00\x7fb", "ab", 2, 0},

		{"last column", "0123456789", "0123456789", 9, 0},
		{"wrap", "0123456789a", "0123456789|a", 1, 1},
		{"last column and crlf", "0123456789\r\na", "0123456789|a", 1, 1},
		{"last column and cr", "0123456789\ra", "a123456789", 1, 0},
		{"last column and bs", "0123456789\bX", "01234567X9", 9, 0},
		{"last column and lf", "0123456789\nX", "0123456789|         X", 9, 1},
		{"last column and a move", "0123456789\x1b[1CX", "012345678X", 9, 0},
		{"erase at the last column", "0123456789\x1b[KX", "012345678|X", 1, 1},

		{"scroll", "a\r\nb\r\nc\r\nd\r\ne", "b|c|d|e", 1, 3},
		{"scroll by wrap", "a\r\nb\r\nc\r\n0123456789e", "b|c|0123456789|e", 1, 3},
		{"scroll more than all", strings.Repeat("x\r\n", 99) + "y", "x|x|x|y", 1, 3},
		{"scroll once around", "a\r\nb\r\nc\r\nd\r\ne\r\nf\r\ng\r\nh\x1b[Htop", "top|f|g|h", 3, 0},

		{"erase to the end", "abcdef\r\x1b[2C\x1b[K", "ab", 2, 0},
		{"erase to the start", "abcdef\r\x1b[2C\x1b[1K", "   def", 2, 0},
		{"erase the line", "abc\r\ndef\x1b[2K", "abc", 3, 1},
		{"erase: no such", "abc\r\x1b[3K\x1b[7J", "abc", 0, 0},
		{"clear", "abc\r\ndef\x1b[H\x1b[2J", "", 0, 0},
		{"clear leaves the cursor", "abc\r\ndef\x1b[2JX", "|   X", 4, 1},
		{"erase below", "abc\r\ndef\r\nghi\x1b[2;2H\x1b[J", "abc|d", 1, 1},
		{"erase above", "abc\r\ndef\r\nghi\x1b[2;2H\x1b[1J", "|  f|ghi", 1, 1},

		{"left and right", "abc\x1b[2DX\x1b[CY", "aXcY", 4, 0},
		{"up and down", "a\x1b[2Bb\x1b[Ac", "a|  c| b", 3, 1},
		{"0 is 1", "ab\x1b[0DX", "aX", 2, 0},
		{"moves stop", "\x1b[99C\x1b[99BX\x1b[99D\x1b[99AY", "Y|||         X", 1, 0},
		{"huge", "\x1b[99999999999999999999CX\x1b[99999999999999999999;99999999999999999999HY", "         X|||         Y", 9, 3},
		{"position", "\x1b[2;3HX\x1b[;5fY\x1b[3HZ", "    Y|  X|Z", 1, 2},
		{"column and line", "\x1b[4GX\x1b[2dY", "   X|    Y", 5, 1},
		{"next and previous line", "ab\x1b[2Ec\x1b[Fd", "ab|d|c", 1, 1},
		{"insert", "abcdefghij\r\x1b[2C\x1b[3@", "ab   cdefg", 2, 0},
		{"insert much", "abcdefghij\r\x1b[2C\x1b[300@", "ab", 2, 0},
		{"remove", "abcdefghij\r\x1b[2C\x1b[3P", "abfghij", 2, 0},
		{"remove much", "abcdefghij\r\x1b[2C\x1b[300P", "ab", 2, 0},

		{"colours", "a\x1b[1;31mb\x1b[mc\x1b[38;5;1;2;3;4;5;6md", "abcd", 4, 0},
		{"private", "\x1b[?25la\x1b[?2004hb\x1b[>cc", "abc", 3, 0},
		{"private is not ours", "abc\x1b[?2J\x1b[?1K", "abc", 3, 0},
		{"with an intermediate", "abc\x1b[2 JX", "abcX", 4, 0},
		{"many parameters", "abc\x1b[2;2;2;2;2JX", "abcX", 4, 0},
		{"parameters don't stay", "abc\x1b[3;3m\r\x1b[CX", "aXc", 2, 0},
		{"character set", "\x1b(Ba\x1b#8b\x1b=c", "abc", 3, 0},
		{"title", "\x1b]0;root@a: ü\aabc", "abc", 3, 0},
		{"title with st", "\x1b]0;root\x1b\\abc", "abc", 3, 0},
		{"title without end", "\x1b]0;root\r\nabc", "|abc", 3, 1},
		{"device string", "\x1bP1$r\x1b\\a", "a", 1, 0},
		{"control within a sequence", "abc\x1b[2\r\x1b[1\bCX", "aXc", 2, 0},
		{"cancelled", "abc\x1b[2\x18D\x1b[2\x1aE", "abcDE", 5, 0},
		{"sequence after sequence", "abc\x1b[2\x1b[2DX", "aXc", 2, 0},

		{"utf-8", "aä€😀b", "a???b", 5, 0},
		{"not utf-8", "\xff\x80\xc0\xe2\x82a\xbfb", "????a?b", 7, 0},
		{"cut utf-8", "\xe2a\x82b", "?a?b", 4, 0},
		{"c1 is not a sequence", "abc\x9b2Jd", "abc?2Jd", 7, 0},
		{"utf-8 in a sequence", "\x1b[2ä\x1bäJ", "??J", 3, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range []int{len(c.in), 1} { // at once, and by bytes
				s, m, v := newTextScreen(t, cols, rows, pitch)
				for rest := c.in; rest != ""; rest = rest[step:] {
					if n, err := io.WriteString(s, rest[:step]); n != step || err != nil {
						t.Fatalf("wrote %d of %d: %v", n, step, err)
					}
				}
				got := strings.TrimRight(strings.Join(shown(t, s, m, pitch), "|"), "|")
				if got != c.want {
					t.Errorf("shows %q, want %q", got, c.want)
				}
				if at := v.cursor(); at != c.y*pitch/2+c.x {
					t.Errorf("cursor at %d, %d, want %d, %d", at%(pitch/2), at/(pitch/2), c.x, c.y)
				}
				check(t, s, m)
			}
		})
	}
}

// TestLineEditor shows what xltool/shell's editor writes while a line is edited.
func TestLineEditor(t *testing.T) {
	s, m, _ := newTextScreen(t, 80, 25, 160)
	step := func(out, want string, x int) {
		t.Helper()
		io.WriteString(s, out)
		if got := shown(t, s, m, 160)[s.y]; got != want || s.x != x {
			t.Fatalf("after %q: %q, cursor at %d; want %q, %d", out, got, s.x, want, x)
		}
		check(t, s, m)
	}
	step("boot\r\n\r\rnidus# \x1b[K", "nidus#", 7)
	step("list", "nidus# list", 11)
	step("\x1b[2D", "nidus# list", 9)                       // left, left
	step("\rnidus# liXst\x1b[K\x1b[2D", "nidus# liXst", 10) // insert
	step("\rnidus# list\x1b[K\x1b[2D", "nidus# list", 9)    // delete
	step("\x1b[2C", "nidus# list", 11)                      // end
	step("\a", "nidus# list", 11)                           // no older line
	step("\rnidus# \x1b[K", "nidus#", 7)                    // kill
	step("\rnidus# "+strings.Repeat("y", 72)+"\x1b[K", "nidus# "+strings.Repeat("y", 72), 79)
	if s.y != 1 {
		t.Fatalf("a full line went to line %d", s.y)
	}
	step("\x1b[H\x1b[2J\rnidus# ab\x1b[K\x1b[1D", "nidus# ab", 8) // ^L
	if s.y != 0 {
		t.Fatalf("cleared, on line %d", s.y)
	}
}

// TestRandom writes random sequences to a text screen and framebuffers, which
// must agree.
func TestRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	a, am, _ := newTextScreen(t, 13, 5, 26)
	b, bm := newFrame(t, rgb(13*7+3, 5*13+2, 24))
	for i := range 3000 {
		var w strings.Builder
		for range r.IntN(6) {
			switch r.IntN(4) {
			case 0:
				w.WriteString("some text here"[:r.IntN(14)])
			case 1:
				w.WriteByte(byte(r.UintN(256)))
			case 2:
				w.WriteString("\r\n")
			case 3:
				fmt.Fprintf(&w, "\x1b[%d;%d%c", r.IntN(9), r.IntN(20), "ABCDEFGdHfJK@PmZ?"[r.IntN(17)])
			}
		}
		io.WriteString(a, w.String())
		io.WriteString(b, w.String())
		check(t, a, am)
		check(t, b, bm)
		for y := range a.rows {
			if string(a.line(y)) != string(b.line(y)) {
				t.Fatalf("step %d, after %q: line %d is %q and %q", i, w.String(), y, a.line(y), b.line(y))
			}
		}
	}
}

func FuzzWrite(f *testing.F) {
	for _, s := range []string{"plain\r\n", "\x1b[2J\x1b[H", "\x1b[999999999999;;;;;;;;;;A", "\x1b]0;x", "\x1b(0\x1b[?1l\xff\xe2\x82", "0123456789abcdef\x1b[@\x1b[P\b\t"} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		whole, m := newFrame(t, rgb(70, 40, 16))
		whole.Write(b)
		check(t, whole, m)

		parts, m, _ := newTextScreen(t, 10, 3, 20)
		cut = min(max(cut, 0), len(b))
		parts.Write(b[:cut])
		check(t, parts, m)
		parts.Write(b[cut:])
		check(t, parts, m)
		if string(whole.cells) != string(parts.cells) || whole.decoderState != parts.decoderState {
			t.Fatal("it matters how the bytes are cut")
		}
		// Nobody leaves the screen mute.
		io.WriteString(whole, "\x18\r\nok")
		if !strings.HasPrefix(string(whole.line(whole.y)), "ok") {
			t.Fatalf("shows %q", whole.line(whole.y))
		}
	})
}
