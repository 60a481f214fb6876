package link

import "sync/atomic"

// Lender counts memory that a port lends with its frames, of which there is only so much: a
// card's buffers, a TCP/IP stack's. Who keeps frames because there is no room for them where
// they go asks it before, so that receivers that take nothing do not have all of it, and
// frames for others still find some.
type Lender struct {
	share int64 // buffers that may be kept, by all
	kept  atomic.Int64
}

// NewLender is for a port that lends n buffers at most. Half of them may be kept; the
// others are for frames that are handed on at once.
func NewLender(n int) *Lender { return &Lender{share: int64(n / 2)} }

// Keep notes that somebody who keeps has buffers by now keeps n more, and returns whether
// that may be: one has at most as many as are left for the next one. Who drops the frame
// later calls Return. A nil Lender's memory is its port's own trouble: all of it may be kept.
func (l *Lender) Keep(has, n int) bool {
	if l == nil {
		return true
	}
	// Several at once may refuse each other; none gets too much.
	if int64(has+n) <= l.share-l.kept.Add(int64(n)) {
		return true
	}
	l.kept.Add(int64(-n))
	return false
}

// Return ends what Keep noted.
func (l *Lender) Return(n int) {
	if l != nil {
		l.kept.Add(int64(-n))
	}
}
