package svm

// tags hands out the ASIDs of one CPU. Only that CPU uses it, with interrupts
// off. An ASID is never given twice within a generation; a new generation
// begins with a flush of all of the CPU's TLB.
type tags struct {
	generation uint64 // 0: none handed out yet
	next, max  uint32 // ASIDs next..max are free
}

// tag is a vcpu's ASID. The zero tag is valid nowhere.
type tag struct {
	generation uint64
	cpu        uint64
	asid       uint32
}

// assign makes t valid on CPU cpu, which owns a. renewed says that t changed,
// flush that everything must be flushed at this very entry.
//
//go:nosplit
func (a *tags) assign(t *tag, cpu uint64) (renewed, flush bool) {
	if t.generation != 0 && t.generation == a.generation && t.cpu == cpu {
		return false, false
	}
	if a.generation == 0 || a.next > a.max {
		a.generation++
		a.next = 1
		flush = true
	}
	t.generation, t.cpu, t.asid = a.generation, cpu, a.next
	a.next++
	return true, flush
}
