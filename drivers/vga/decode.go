package vga

// state is where in a sequence the decoder is.
type state uint8

const (
	ground  state = iota
	escape        // after ESC, and its intermediate bytes
	control       // after ESC [
	text          // in a title or the like, which is not shown
)

const (
	maxParams = 4 // of the sequences that do something; longer ones do nothing
	maxParam  = 9999

	esc = 0x1b
	can = 0x18
	sub = 0x1a
	del = 0x7f
)

// decoderState is what the decoder remembers between bytes. Nothing in it grows
// with what is written.
type decoderState struct {
	state  state
	more   uint8 // UTF-8 continuation bytes to come
	ignore bool  // the control sequence is none of ours
	param  [maxParams]int
	last   int // the parameter that is being read
}

// decode takes a byte of what is written.
func (t *terminal) decode(c byte) {
	if c >= 0x80 {
		t.decodeHigh(c)
		return
	}
	t.more = 0
	switch {
	case c == esc:
		t.state = escape
	case c == can || c == sub:
		t.state = ground
	case c < ' ':
		// Controls work inside sequences as well (ECMA-48 leaves it open, a VT100
		// does it). A title ends here whatever its end should have been, so that
		// no writer makes the screen mute for the next one.
		if t.state == text {
			t.state = ground
		}
		t.execute(c)
	case c == del:
	case t.state == ground:
		t.put(c)
	case t.state == escape:
		t.decodeEscape(c)
	case t.state == control:
		t.decodeControl(c)
	}
}

// decodeHigh takes a byte that isn't ASCII: the first of a character is shown.
// The C1 controls that ISO 8859 has here are UTF-8's continuation bytes.
func (t *terminal) decodeHigh(c byte) {
	if t.state == text {
		return
	}
	t.state = ground
	switch {
	case c < 0xc0 && t.more > 0:
		t.more--
		return
	case c >= 0xc2 && c < 0xe0:
		t.more = 1
	case c >= 0xe0 && c < 0xf0:
		t.more = 2
	case c >= 0xf0 && c < 0xf5:
		t.more = 3
	default:
		t.more = 0
	}
	t.put('?')
}

func (t *terminal) execute(c byte) {
	switch c {
	case '\b':
		t.move(t.x-1, t.y)
	case '\t':
		t.move(t.x&^7+8, t.y)
	case '\n', '\v', '\f':
		t.down()
	case '\r':
		t.move(0, t.y)
	}
}

func (t *terminal) decodeEscape(c byte) {
	switch {
	case c < '0': // an intermediate byte: ESC ( B and the like
	case c == '[':
		t.state = control
		t.ignore, t.last, t.param = false, 0, [maxParams]int{}
	case c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_': // OSC DCS SOS PM APC
		t.state = text
	default:
		t.state = ground
	}
}

func (t *terminal) decodeControl(c byte) {
	switch {
	case c >= '0' && c <= '9':
		t.param[t.last] = min(t.param[t.last]*10+int(c-'0'), maxParam)
	case c == ';':
		if t.last++; t.last == maxParams {
			t.last, t.ignore = 0, true
		}
	case c < '@': // private, or with intermediate bytes
		t.ignore = true
	default:
		t.state = ground
		if !t.ignore {
			t.perform(c)
		}
	}
}

// perform does a control sequence by its final byte. Parameters count from 1, and
// for what moves, 0 is 1.
func (t *terminal) perform(final byte) {
	n := max(t.param[0], 1)
	switch final {
	case 'A':
		t.move(t.x, t.y-n)
	case 'B':
		t.move(t.x, t.y+n)
	case 'C':
		t.move(t.x+n, t.y)
	case 'D':
		t.move(t.x-n, t.y)
	case 'E':
		t.move(0, t.y+n)
	case 'F':
		t.move(0, t.y-n)
	case 'G':
		t.move(n-1, t.y)
	case 'd':
		t.move(t.x, n-1)
	case 'H', 'f':
		t.move(max(t.param[1], 1)-1, n-1)
	case 'J':
		t.eraseScreen(t.param[0])
	case 'K':
		t.eraseLine(t.param[0])
	case '@':
		t.insert(n)
	case 'P':
		t.remove(n)
	}
}
