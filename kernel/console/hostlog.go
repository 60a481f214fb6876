package console

import (
	"fmt"
	"io"
	"sync"
	"time"

	"nidus/mm"
)

// LogConfig is how a Log works.
type LogConfig struct {
	Size        int                  // bytes kept for xl dmesg
	Prefix      string               // of each line, as "(XEN) "
	Now         func() time.Duration // since boot, monotonic
	Timestamps  bool                 // seconds since boot behind the prefix
	Host, Guest Threshold
	Rate, Burst int       // rate-limited messages a second, and at once, for each domain and for the host; 0: 5 and 20
	Out         io.Writer // where each line also goes, in one Write that must not keep it; may be nil
}

// Log is the hypervisor's log: a History of fixed size, with levels, and limits
// that keep one guest from washing out everybody else's lines. All methods may
// be called from any goroutine. Out is written with the log's lock held: give
// it something that does not wait, or leave it nil and Attach a reader.
type Log struct {
	*History
	cfg LogConfig

	mu      sync.Mutex
	line    []byte
	sources map[mm.DomID]*source
}

// source is what the log knows of a domain; the host is mm.DomIDXen.
type source struct {
	bucket     *Bucket
	suppressed uint64
	once       map[onceKey]struct{}
}

type onceKey struct {
	what string
	n    uint64
}

const (
	maxLine = 512 // longest line, bytes
	maxOnce = 128 // different Once messages of one domain
	host    = mm.DomIDXen
)

// NewLog returns an empty log.
func NewLog(cfg LogConfig) *Log {
	if cfg.Rate <= 0 || cfg.Burst <= 0 {
		cfg.Rate, cfg.Burst = 5, 20
	}
	return &Log{
		History: NewHistory(cfg.Size, nil),
		cfg:     cfg,
		line:    make([]byte, 0, maxLine+128),
		sources: map[mm.DomID]*source{},
	}
}

// Printf logs a message of the hypervisor itself.
func (l *Log) Printf(level Level, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.admit(host, level) {
		l.format("", format, args)
	}
}

// Print is Printf for text as it is; it allocates nothing.
func (l *Log) Print(level Level, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.admit(host, level) {
		l.begin("")
		l.line = append(l.line, text[:min(len(text), maxLine)]...)
		l.emit()
	}
}

// Guestf logs what a guest did, behind the domain's number.
func (l *Log) Guestf(dom mm.DomID, level Level, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.admit(dom, level) {
		l.guest(dom, format, args)
	}
}

// GuestOncef is Guestf for a message that matters only the first time for each
// domain, what and n (as: "hypercall", its number). A domain that finds too many
// different ones gets no more. It tells whether this was the first time.
func (l *Log) GuestOncef(dom mm.DomID, what string, n uint64, level Level, format string, args ...any) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.source(dom)
	k := onceKey{what, n}
	if _, seen := s.once[k]; seen || len(s.once) >= maxOnce {
		return false
	}
	if s.once == nil {
		s.once = map[onceKey]struct{}{}
	}
	s.once[k] = struct{}{}
	if l.admit(dom, level) {
		l.guest(dom, format, args)
	}
	return true
}

// Forget drops what is known of a domain that is gone.
func (l *Log) Forget(dom mm.DomID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sources, dom)
}

// SetThresholds changes what is kept from now on.
func (l *Log) SetThresholds(host, guest Threshold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cfg.Host, l.cfg.Guest = host, guest
}

func (l *Log) source(dom mm.DomID) *source {
	s := l.sources[dom]
	if s == nil {
		s = &source{bucket: NewBucket(l.cfg.Rate, l.cfg.Burst, l.cfg.Now)}
		l.sources[dom] = s
	}
	return s
}

// admit tells whether a message is kept, and says how many were not as soon as
// one is again.
func (l *Log) admit(dom mm.DomID, level Level) bool {
	t := l.cfg.Guest
	if dom == host {
		t = l.cfg.Host
	}
	switch {
	case level < t.Always && dom == host:
		return true
	case level >= t.Always && level >= t.Limited:
		return false
	}
	// A guest's messages are limited even where Xen would let them all
	// through: a guest must not be able to flood the log.
	s := l.source(dom)
	if s.bucket.Take(1) == 0 {
		s.suppressed++
		return false
	}
	if n := s.suppressed; n > 0 {
		s.suppressed = 0
		if dom == host {
			l.format("", "%d messages suppressed", []any{n})
		} else {
			l.guest(dom, "%d messages suppressed", []any{n})
		}
	}
	return true
}

func (l *Log) guest(dom mm.DomID, format string, args []any) {
	l.format(fmt.Sprintf("d%d ", dom), format, args)
}

func (l *Log) format(who, format string, args []any) {
	l.begin(who)
	l.line = fmt.Appendf(l.line, format, args...)
	l.emit()
}

func (l *Log) begin(who string) {
	l.line = append(l.line[:0], l.cfg.Prefix...)
	if l.cfg.Timestamps {
		l.line = appendTime(l.line, l.cfg.Now())
	}
	l.line = append(l.line, who...)
}

// appendTime appends "[sssss.uuuuuu] ".
func appendTime(b []byte, t time.Duration) []byte {
	us := uint64(t.Microseconds())
	b = append(b, "[     .000000] "...)
	d := b[len(b)-15:]
	for i, n := 12, us%1e6; i > 6; i, n = i-1, n/10 {
		d[i] = '0' + byte(n%10)
	}
	for i, n := 5, us/1e6; i > 0 && (n > 0 || i == 5); i, n = i-1, n/10 {
		d[i] = '0' + byte(n%10)
	}
	return b
}

// emit ends the line and writes it. What could steer a terminal, or look like a
// line of its own, becomes '.': parts of a message can come from a guest.
func (l *Log) emit() {
	if len(l.line) > maxLine {
		l.line = append(l.line[:maxLine-3], "..."...)
	}
	for n := len(l.line); n > 0 && l.line[n-1] == '\n'; n-- {
		l.line = l.line[:n-1]
	}
	for i, c := range l.line {
		if c < 0x20 && c != '\t' || c >= 0x7f {
			l.line[i] = '.'
		}
	}
	l.line = append(l.line, '\n')
	_, _ = l.History.Write(l.line)
	if l.cfg.Out != nil {
		_, _ = l.cfg.Out.Write(l.line)
	}
	if cap(l.line) > 16<<10 {
		l.line = make([]byte, 0, maxLine+128)
	}
}
