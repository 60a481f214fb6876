package vga

import "bytes"

// painter draws characters on one kind of screen. Positions are in the size that
// the terminal was made with.
type painter interface {
	// paint draws the characters of a line from column x on: ' ' to '~', with
	// the terminal's mark on the one that has the cursor.
	paint(x, y int, chars []byte)
	// cursor is told where the cursor is, for a screen that draws its own.
	cursor(x, y int)
}

// terminal is a Screen: a grid of characters, the cursor, and the decoder of what
// is written.
type terminal struct {
	p          painter
	cols, rows int
	cells      []byte // lines, the topmost at line top; what should be seen
	top        int
	drawn      []byte // lines from the top; what is seen
	mark       byte   // set in the cursor's character if the painter draws it

	x, y         int
	wrap         bool // the cursor is past the last column, which y, x is
	shownX       int
	shownY       int
	decoderState // of what is written
}

// newTerminal clears the screen.
func newTerminal(p painter, cols, rows int, mark byte) *terminal {
	t := &terminal{
		p: p, cols: cols, rows: rows, mark: mark,
		cells:  bytes.Repeat([]byte{' '}, cols*rows),
		drawn:  make([]byte, cols*rows), // 0 is no character: all is drawn
		shownX: -1,
	}
	t.flush()
	return t
}

// Write implements io.Writer.
func (t *terminal) Write(b []byte) (int, error) {
	for _, c := range b {
		t.decode(c)
	}
	t.flush()
	return len(b), nil
}

// line returns line y of what should be seen.
func (t *terminal) line(y int) []byte {
	if y += t.top; y >= t.rows {
		y -= t.rows
	}
	return t.cells[y*t.cols:][:t.cols]
}

// flush draws what changed.
func (t *terminal) flush() {
	under := &t.line(t.y)[t.x]
	*under |= t.mark
	for y := range t.rows {
		want, have := t.line(y), t.drawn[y*t.cols:][:t.cols]
		if bytes.Equal(want, have) {
			continue
		}
		for x := 0; x < t.cols; x++ {
			from := x
			for x < t.cols && want[x] != have[x] {
				x++
			}
			if from < x {
				t.p.paint(from, y, want[from:x])
			}
		}
		copy(have, want)
	}
	*under &^= t.mark
	if t.x != t.shownX || t.y != t.shownY {
		t.p.cursor(t.x, t.y)
		t.shownX, t.shownY = t.x, t.y
	}
}

// put shows a character at the cursor and advances. The last column's character
// leaves the cursor there; only the next one goes to the next line.
func (t *terminal) put(c byte) {
	if t.wrap {
		t.x = 0
		t.down()
	}
	t.line(t.y)[t.x] = c
	if t.wrap = t.x == t.cols-1; !t.wrap {
		t.x++
	}
}

// down is the cursor's next line, scrolling at the last one.
func (t *terminal) down() {
	t.wrap = false
	if t.y < t.rows-1 {
		t.y++
		return
	}
	if t.top++; t.top == t.rows {
		t.top = 0
	}
	blank(t.line(t.y))
}

// move puts the cursor at column x of line y, or as near as there is.
func (t *terminal) move(x, y int) {
	t.x = min(max(x, 0), t.cols-1)
	t.y = min(max(y, 0), t.rows-1)
	t.wrap = false
}

// eraseLine is EL: 0 from the cursor on, 1 up to and with it, 2 all.
func (t *terminal) eraseLine(what int) {
	switch l := t.line(t.y); what {
	case 0:
		blank(l[t.x:])
	case 1:
		blank(l[:t.x+1])
	case 2:
		blank(l)
	}
}

// eraseScreen is ED, with eraseLine's numbers.
func (t *terminal) eraseScreen(what int) {
	from, to := 0, t.rows
	switch what {
	case 0:
		from = t.y + 1
	case 1:
		to = t.y
	case 2:
	default:
		return
	}
	t.eraseLine(what)
	for y := from; y < to; y++ {
		blank(t.line(y))
	}
}

// insert is ICH: n blanks at the cursor push the rest of the line out.
func (t *terminal) insert(n int) {
	l := t.line(t.y)[t.x:]
	n = min(n, len(l))
	copy(l[n:], l)
	blank(l[:n])
}

// remove is DCH: n characters at the cursor go, the rest of the line follows.
func (t *terminal) remove(n int) {
	l := t.line(t.y)[t.x:]
	n = min(n, len(l))
	copy(l, l[n:])
	blank(l[len(l)-n:])
}

func blank(b []byte) {
	for i := range b {
		b[i] = ' '
	}
}
