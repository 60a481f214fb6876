package shell

import (
	"context"
	"unicode"
	"unicode/utf8"
)

// key is a rune that was typed, or one of the keys below.
type key = rune

const (
	keyUnknown key = unicode.MaxRune + 1 + iota
	keyUp
	keyDown
	keyLeft
	keyRight
	keyHome
	keyEnd
	keyDelete
	keyWordLeft
	keyWordRight
	keyCutWordLeft
	keyCutWordRight
)

// ctrl is the code of a letter with the control key.
func ctrl(letter byte) key { return key(letter & 0x1f) }

// keyReader decodes a VT100's input. An escape that stands alone takes the next
// byte with it: on a serial line there is no telling them apart in time.
type keyReader struct {
	in     *input
	wasCR  bool
	single [1]byte
}

func (r *keyReader) byte(ctx context.Context) (byte, error) {
	_, err := r.in.read(ctx, r.single[:])
	return r.single[0], err
}

// key waits for a key. The two bytes of CR LF are one \r, and a lone \n is \r.
func (r *keyReader) key(ctx context.Context) (key, error) {
	for {
		b, err := r.byte(ctx)
		if err != nil {
			return 0, err
		}
		crlf := r.wasCR && b == '\n'
		r.wasCR = b == '\r'
		switch {
		case crlf:
			continue
		case b == '\n':
			return '\r', nil
		case b == 0x1b:
			return r.escape(ctx)
		case b < utf8.RuneSelf:
			return key(b), nil
		}
		return r.utf8(ctx, b)
	}
}

func (r *keyReader) utf8(ctx context.Context, first byte) (key, error) {
	p := []byte{first}
	for !utf8.FullRune(p) {
		b, err := r.byte(ctx)
		if err != nil {
			return 0, err
		}
		p = append(p, b)
	}
	k, size := utf8.DecodeRune(p)
	if size < len(p) {
		r.in.unread(p[size:])
	}
	if k == utf8.RuneError || !unicode.IsPrint(k) {
		return keyUnknown, nil
	}
	return k, nil
}

// escape decodes what follows an escape: CSI (ECMA-48, 5.4), SS3, or a letter
// with the meta key.
func (r *keyReader) escape(ctx context.Context) (key, error) {
	b, err := r.byte(ctx)
	if err != nil {
		return 0, err
	}
	switch b {
	case 'b':
		return keyWordLeft, nil
	case 'f':
		return keyWordRight, nil
	case 'd':
		return keyCutWordRight, nil
	case 0x7f, '\b':
		return keyCutWordLeft, nil
	case 'O':
		if b, err = r.byte(ctx); err != nil {
			return 0, err
		}
		return final(b, [2]int{}), nil
	case '[':
		var params [2]int // beyond the second they mean nothing here
		at := 0
		for range 16 {
			if b, err = r.byte(ctx); err != nil {
				return 0, err
			}
			switch {
			case b >= 0x40 && b <= 0x7e:
				return final(b, params), nil
			case b == ';':
				at++
			case b >= '0' && b <= '9' && at < len(params) && params[at] < 100:
				params[at] = params[at]*10 + int(b-'0')
			}
		}
	}
	return keyUnknown, nil
}

// final gives the meaning of a sequence's last byte. The second parameter is that
// of xterm: 1 and the sum of shift (1), alt (2), control (4) and meta (8).
func final(b byte, params [2]int) key {
	held := params[1] - 1
	words := held > 0 && held < 16 && held&(2|4) != 0
	switch b {
	case 'A':
		return keyUp
	case 'B':
		return keyDown
	case 'C':
		if words {
			return keyWordRight
		}
		return keyRight
	case 'D':
		if words {
			return keyWordLeft
		}
		return keyLeft
	case 'H':
		return keyHome
	case 'F':
		return keyEnd
	case '~':
		switch params[0] {
		case 1, 7:
			return keyHome
		case 4, 8:
			return keyEnd
		case 3:
			return keyDelete
		}
	}
	return keyUnknown
}
