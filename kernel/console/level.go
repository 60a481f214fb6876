package console

import (
	"fmt"
	"strings"
)

// Level is how much a log message matters; smaller matters more.
type Level uint8

// The levels (xen-command-line.pandoc, loglvl).
const (
	LevelError Level = iota
	LevelWarning
	LevelInfo
	LevelDebug
)

// Threshold says which messages are kept: those below Always (a level that is
// less than it), and as many of those below Limited as the rate limit lets
// through. The zero Threshold keeps none.
type Threshold struct{ Always, Limited Level }

// Thresholds that Xen has when its command line says nothing.
var (
	DefaultHostThreshold  = Threshold{LevelInfo, LevelInfo}     // loglvl=warning
	DefaultGuestThreshold = Threshold{LevelError, LevelWarning} // guest_loglvl=none/error
)

var thresholdNames = map[string]Level{
	"none": 0, "error": LevelError + 1, "warning": LevelWarning + 1,
	"info": LevelInfo + 1, "debug": LevelDebug + 1, "all": LevelDebug + 1,
}

// ParseThreshold reads the value of loglvl= or guest_loglvl=: a level, or two
// with a slash between, of which the second is for rate-limited messages.
func ParseThreshold(s string) (Threshold, error) {
	first, second, two := strings.Cut(s, "/")
	if !two {
		second = first
	}
	a, ok1 := thresholdNames[first]
	l, ok2 := thresholdNames[second]
	if !ok1 || !ok2 {
		return Threshold{}, fmt.Errorf("log level %q: want none, error, warning, info, debug or all, or two of them as in none/warning", s)
	}
	return Threshold{a, max(a, l)}, nil
}
