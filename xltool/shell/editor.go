package shell

import (
	"context"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	columns = 80   // of a VT100; a longer line scrolls sideways
	maxLine = 1024 // runes
)

// editor reads lines from a raw terminal.
type editor struct {
	keys   keyReader
	out    io.Writer
	prompt string
	hist   history
	// complete returns the words that the last word of left may become, and
	// where in left that word starts.
	complete func(ctx context.Context, left string) (start int, words []string)

	line   []rune
	pos    int // of the cursor in line
	first  int // rune of line that stands after the prompt
	kill   []rune
	tabbed bool // the last key was a tab that found more than one word
}

// readLine lets the user edit a line and returns it; "" after ^C.
func (e *editor) readLine(ctx context.Context) (string, error) {
	e.set("")
	e.hist.rewind()
	e.refresh()
	for {
		k, err := e.keys.key(ctx)
		if err != nil {
			return "", err
		}
		tabbed := e.tabbed
		e.tabbed = false
		switch k {
		case '\r':
			return e.enter(), nil
		case ctrl('C'):
			e.write("^C\r\n")
			return "", nil
		case '\t':
			e.tab(ctx, tabbed)
		case ctrl('R'):
			done, err := e.search(ctx)
			if err != nil || done {
				return e.enter(), err
			}
		default:
			e.edit(k)
		}
	}
}

func (e *editor) enter() string {
	e.move(len(e.line))
	e.write("\r\n")
	s := string(e.line)
	e.hist.add(s)
	return s
}

// edit does what a key does to the line.
func (e *editor) edit(k key) {
	switch k {
	case ctrl('A'), keyHome:
		e.move(0)
	case ctrl('E'), keyEnd:
		e.move(len(e.line))
	case ctrl('B'), keyLeft:
		e.move(e.pos - 1)
	case ctrl('F'), keyRight:
		e.move(e.pos + 1)
	case keyWordLeft:
		e.move(e.wordLeft())
	case keyWordRight:
		e.move(e.wordRight())
	case 0x7f, '\b':
		e.cut(e.pos-1, e.pos)
	case ctrl('D'), keyDelete:
		e.cut(e.pos, e.pos+1)
	case ctrl('K'):
		e.keep(e.cut(e.pos, len(e.line)))
	case ctrl('U'):
		e.keep(e.cut(0, e.pos))
	case keyCutWordRight:
		e.keep(e.cut(e.pos, e.wordRight()))
	case ctrl('W'), keyCutWordLeft:
		e.keep(e.cut(e.wordLeft(), e.pos))
	case ctrl('Y'):
		e.insert(e.kill)
	case ctrl('P'), keyUp:
		e.recall(e.hist.older(string(e.line)))
	case ctrl('N'), keyDown:
		e.recall(e.hist.newer())
	case ctrl('L'):
		e.write("\x1b[H\x1b[2J")
		e.refresh()
	default:
		if k >= ' ' && k < keyUnknown {
			e.insert([]rune{k})
		} else {
			e.bell()
		}
	}
}

func (e *editor) recall(s string, ok bool) {
	if !ok {
		e.bell()
		return
	}
	e.set(s)
	e.refresh()
}

func (e *editor) set(s string) {
	e.line = []rune(s)
	e.pos, e.first = len(e.line), 0
}

func (e *editor) keep(cut []rune) {
	if len(cut) > 0 {
		e.kill = cut
	}
}

func (e *editor) insert(rs []rune) {
	if len(rs) == 0 || len(e.line)+len(rs) > maxLine {
		e.bell()
		return
	}
	tail := append([]rune(nil), e.line[e.pos:]...)
	e.line = append(append(e.line[:e.pos], rs...), tail...)
	e.pos += len(rs)
	if len(tail) == 0 && e.pos-e.first <= e.room() { // the usual case: only echo
		e.write(string(rs))
		return
	}
	e.refresh()
}

// cut removes and returns the runes from a to b.
func (e *editor) cut(a, b int) []rune {
	if a < 0 || a >= b || b > len(e.line) {
		e.bell()
		return nil
	}
	out := append([]rune(nil), e.line[a:b]...)
	e.line = append(e.line[:a], e.line[b:]...)
	e.pos = a
	e.refresh()
	return out
}

func (e *editor) wordLeft() int {
	i := e.pos
	for i > 0 && unicode.IsSpace(e.line[i-1]) {
		i--
	}
	for i > 0 && !unicode.IsSpace(e.line[i-1]) {
		i--
	}
	return i
}

func (e *editor) wordRight() int {
	i := e.pos
	for i < len(e.line) && unicode.IsSpace(e.line[i]) {
		i++
	}
	for i < len(e.line) && !unicode.IsSpace(e.line[i]) {
		i++
	}
	return i
}

// room is how many runes of the line are seen at once.
func (e *editor) room() int { return columns - 1 - utf8.RuneCountInString(e.prompt) }

// move puts the cursor before rune to.
func (e *editor) move(to int) {
	if to < 0 || to > len(e.line) {
		e.bell()
		return
	}
	from := e.pos
	e.pos = to
	switch {
	case to < e.first || to-e.first > e.room():
		e.refresh()
	case to < from:
		e.write(fmt.Sprintf("\x1b[%dD", from-to))
	case to > from:
		e.write(fmt.Sprintf("\x1b[%dC", to-from))
	}
}

// refresh draws prompt and line anew, scrolled so that the cursor is seen.
func (e *editor) refresh() {
	if e.pos < e.first {
		e.first = max(0, e.pos-e.room()/2)
	} else if e.pos-e.first > e.room() {
		e.first = e.pos - e.room()/2
	}
	seen := e.line[e.first:min(len(e.line), e.first+e.room())]
	var b strings.Builder
	b.WriteString("\r" + e.prompt + string(seen) + "\x1b[K")
	if back := e.first + len(seen) - e.pos; back > 0 {
		fmt.Fprintf(&b, "\x1b[%dD", back)
	}
	e.write(b.String())
}

func (e *editor) bell() { e.write("\a") }

func (e *editor) write(s string) { io.WriteString(e.out, s) }
