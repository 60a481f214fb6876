package boot

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

var errNotBool = errors.New("the value must be yes or no, on or off, true or false, enable or disable, 1 or 0")

// parseBool reads a boolean's value; a bare word is true.
func parseBool(value string, has bool) (bool, error) {
	if !has {
		return true, nil
	}
	switch value {
	case "1", "yes", "on", "true", "enable":
		return true, nil
	case "0", "no", "off", "false", "disable":
		return false, nil
	}
	return false, errNotBool
}

// parseGuests reads xpti= or pv-l1tf=, a list of default, a boolean, dom0= and domu= with one, the
// last of which counts. There is no dom0 to which its own would apply.
func parseGuests(value string, s Switch) (Switch, error) {
	for _, w := range strings.Split(value, ",") {
		if w == "default" {
			s = SwitchDefault
			continue
		}
		who, on, has := strings.Cut(w, "=")
		if !has {
			on = w
		} else if who != "domu" && who != "dom0" {
			return s, fmt.Errorf("%q is not default, a boolean, domu= or dom0=", w)
		}
		v, err := parseBool(on, true)
		switch {
		case err != nil:
			return s, err
		case who == "dom0" && has:
		case v:
			s = SwitchOn
		default:
			s = SwitchOff
		}
	}
	return s, nil
}

// PCID is a value of pcid=.
type PCID uint8

const (
	PCIDOn      PCID = iota // the default: for all PV guests
	PCIDOff                 // for none
	PCIDXPTI                // for isolated ones
	PCIDNotXPTI             // for others
)

// String is what follows pcid=.
func (p PCID) String() string { return [...]string{"on", "off", "xpti=on", "xpti=off"}[p&3] }

// Wanted tells whether PV guests are to have the TLB tagged, which are isolated by page tables or not.
func (p PCID) Wanted(isolated bool) bool {
	return p == PCIDOn || p == PCIDXPTI && isolated || p == PCIDNotXPTI && !isolated
}

// parsePCID reads pcid=, a boolean or xpti= with one; xpti and no-xpti are short for the latter.
func parsePCID(value string) (PCID, error) {
	who, on, has := strings.Cut(value, "=")
	xpti := who == "xpti"
	switch {
	case value == "no-xpti":
		return PCIDNotXPTI, nil
	case has && !xpti:
		return PCIDOn, fmt.Errorf("%q is not a boolean or xpti= with one", value)
	case !xpti:
		on, has = value, true
	}
	b, err := parseBool(on, has)
	switch {
	case err != nil:
		return PCIDOn, err
	case xpti && b:
		return PCIDXPTI, nil
	case xpti:
		return PCIDNotXPTI, nil
	case b:
		return PCIDOn, nil
	}
	return PCIDOff, nil
}

// oneOf returns value if it is one of words.
func oneOf(value string, words ...string) (string, error) {
	for _, w := range words {
		if value == w {
			return value, nil
		}
	}
	return "", fmt.Errorf("%q is not one of %s", value, strings.Join(words, ", "))
}

// parseCount reads a decimal, octal (0) or hexadecimal (0x) number.
func parseCount(value string, least, most int) (int, error) {
	n, err := strconv.ParseUint(value, 0, 31)
	if err != nil || int(n) < least || int(n) > most {
		return 0, fmt.Errorf("%q is not a number from %d to %d", value, least, most)
	}
	return int(n), nil
}

// parseRPC reads where the control plane listens: tls:PORT.
func parseRPC(value string) (port int, err error) {
	text, ok := strings.CutPrefix(value, "tls:")
	if !ok {
		return 0, fmt.Errorf("%q is not tls:PORT", value)
	}
	return parseCount(text, 1, math.MaxUint16)
}

// parseConsole reads a list of consoles.
func parseConsole(value string) ([]string, error) {
	var list []string
	for c := range strings.SplitSeq(value, ",") {
		w, err := oneOf(c, "com1", "com2", "vga", "none")
		if err != nil {
			return nil, err
		}
		list = append(list, w)
	}
	return list, nil
}

// parseSerial reads baud[/base-baud][,DPS[,io-base[,irq]]]; an empty or missing
// part leaves what s has.
func parseSerial(value string, s Serial) (Serial, error) {
	parts := strings.Split(value, ",")
	if len(parts) > 4 {
		return s, errors.New("more than baud,format,port,irq: PCI serial ports are not supported")
	}
	parts = append(parts, "", "", "")
	baud, base, hasBase := strings.Cut(parts[0], "/")
	switch baud {
	case "":
	case "auto":
		s.Baud = 0
	default:
		n, err := parseCount(baud, 50, 4_000_000)
		if err != nil {
			return s, fmt.Errorf("baud rate: %w", err)
		}
		s.Baud = uint32(n)
	}
	if hasBase && base != "115200" {
		return s, fmt.Errorf("base baud %q: only 115200 is supported", base)
	}
	if f := parts[1]; f != "" {
		if len(f) != 3 || f[0] < '5' || f[0] > '8' || !strings.ContainsRune("noems", rune(f[1])) || (f[2] != '1' && f[2] != '2') {
			return s, fmt.Errorf("format %q: it must be data bits (5 to 8), parity (n, o, e, m, s) and stop bits (1, 2), as in 8n1", f)
		}
		s.DataBits, s.Parity, s.StopBits = f[0]-'0', f[1], f[2]-'0'
	}
	if parts[2] != "" {
		// Eight registers behind the base.
		n, err := parseCount(parts[2], 0x100, 0xfff8)
		if err != nil {
			return s, fmt.Errorf("I/O port: %w", err)
		}
		s.IOBase = uint16(n)
	}
	if parts[3] != "" {
		n, err := parseCount(parts[3], 0, 255)
		if err != nil {
			return s, fmt.Errorf("interrupt: %w", err)
		}
		s.IRQ = uint8(n)
	}
	return s, nil
}

// parseLogLevels reads level[/rate-limited level].
func parseLogLevels(value string) (LogLevels, error) {
	first, second, pair := strings.Cut(value, "/")
	always, err := parseLogLevel(first)
	if err != nil {
		return LogLevels{}, err
	}
	l := LogLevels{always, always}
	if pair {
		if l.Limited, err = parseLogLevel(second); err != nil {
			return LogLevels{}, err
		}
		l.Limited = max(l.Limited, l.Always)
	}
	return l, nil
}

// parseLogLevel reads a level's word.
func parseLogLevel(word string) (LogLevel, error) {
	if word == "all" {
		return LogDebug, nil
	}
	for i, w := range logLevelWords {
		if w == word {
			return LogLevel(i), nil
		}
	}
	return 0, fmt.Errorf("%q is not one of %s, all", word, strings.Join(logLevelWords[:], ", "))
}

// consoleSwitch is conswitch='s value.
type consoleSwitch struct {
	key  byte
	stay bool
}

// parseConsoleSwitch reads a letter or ` (none), then x.
func parseConsoleSwitch(value string) (consoleSwitch, error) {
	rest, stay := strings.CutSuffix(value, "x")
	if value == "x" {
		rest, stay = value, false // the letter itself
	}
	if len(rest) == 1 {
		if c := rest[0] | 0x20; c >= 'a' && c <= 'z' {
			return consoleSwitch{c - 'a' + 1, stay}, nil
		}
		if rest == "`" {
			return consoleSwitch{0, stay}, nil
		}
	}
	return consoleSwitch{}, fmt.Errorf("%q is not a letter, or ` for none, with an optional x behind it", value)
}

// parseDom0Mem reads a list of amounts with min: or max: before them.
func parseDom0Mem(value string, d Dom0Mem) (Dom0Mem, error) {
	for part := range strings.SplitSeq(value, ",") {
		dst := &d.Size
		if s, ok := strings.CutPrefix(part, "min:"); ok {
			dst, part = &d.Min, s
		} else if s, ok := strings.CutPrefix(part, "max:"); ok {
			dst, part = &d.Max, s
		}
		m, err := parseMemAmount(part)
		if err != nil {
			return d, err
		}
		*dst = m
	}
	return d, nil
}

// parseMemAmount reads [-]size, percent% or size+percent%.
func parseMemAmount(s string) (MemAmount, error) {
	m := MemAmount{Set: true}
	if rest, ok := strings.CutSuffix(s, "%"); ok {
		size, percent, both := strings.Cut(rest, "+")
		if !both {
			size, percent = "0", rest
		}
		n, err := parseCount(percent, 0, 100)
		if err != nil {
			return m, fmt.Errorf("percentage: %w", err)
		}
		m.Percent = uint8(n)
		m.Bytes, err = ParseSize(size)
		return m, err
	}
	s, m.Less = strings.CutPrefix(s, "-")
	var err error
	m.Bytes, err = ParseSize(s)
	return m, err
}

// Limit is how much of total bytes the embedded dom0 may use: def if the option
// says nothing, kept between min and max as Xen does it, and never below least,
// which wins over all. Bytes.
func (d Dom0Mem) Limit(total, def, least uint64) uint64 {
	n := def
	if d.Size.Set {
		n = d.Size.Of(total)
	}
	if d.Min.Set {
		n = max(n, d.Min.Of(total))
	}
	if d.Max.Set {
		n = min(n, d.Max.Of(total))
	}
	return max(n, least)
}

// ParseSize reads an amount of memory in Xen's syntax: a number and B, K, M, G or
// T, where no letter means KiB. It returns bytes.
func ParseSize(s string) (uint64, error) {
	digits, shift := s, 10
	if s != "" {
		letter := s[len(s)-1] | 0x20
		if i := strings.IndexByte("bkmgt", letter); i >= 0 && !(letter == 'b' && strings.HasPrefix(s, "0x")) {
			digits, shift = s[:len(s)-1], 10*i
		}
	}
	n, err := strconv.ParseUint(digits, 0, 64)
	if err != nil || n > math.MaxUint64>>shift {
		return 0, fmt.Errorf("%q is not a size like 512M or 2G", s)
	}
	return n << shift, nil
}
