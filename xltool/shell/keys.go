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
	case 'O':
		if b, err = r.byte(ctx); err != nil {
			return 0, err
		}
		return final(b, 0), nil
	case '[':
		param, first := 0, true
		for range 16 {
			if b, err = r.byte(ctx); err != nil {
				return 0, err
			}
			switch {
			case b >= 0x40 && b <= 0x7e:
				return final(b, param), nil
			case b == ';':
				first = false
			case b >= '0' && b <= '9' && first && param < 100:
				param = param*10 + int(b-'0')
			}
		}
	}
	return keyUnknown, nil
}

// final gives the meaning of a sequence's last byte.
func final(b byte, param int) key {
	switch b {
	case 'A':
		return keyUp
	case 'B':
		return keyDown
	case 'C':
		return keyRight
	case 'D':
		return keyLeft
	case 'H':
		return keyHome
	case 'F':
		return keyEnd
	case '~':
		switch param {
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
