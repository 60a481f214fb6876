package virt

// Timer is a vcpu's one-shot timer, and the deadline at which its thread is to come out of the guest.
// A deadline that is too early costs an exit in which nothing is due; one that is changed each
// time the guest changes its timer, as an idle Linux does twice for each event, costs more. The vcpu's
// own thread reads and writes it.
type Timer struct {
	At    int64 // system time in ns; 0: off
	Armed int64 // the thread's deadline; 0: none
}

// Covers tells whether the thread comes out early enough for a timer at time at (0: none).
//
//go:nosplit
func (t *Timer) Covers(at int64) bool { return at == 0 || t.Armed != 0 && t.Armed <= at }
