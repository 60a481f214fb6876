//go:build !tamago

package pv

import (
	"nidus/kernel/virt"
	"nidus/kernel/virt/spec"
	"nidus/mm"
)

// processor stands in for the hardware in the host's tests.
type processor interface {
	enter(*context)
	cpu() uint64
	// takeInterrupt is told what came while the guest ran.
	takeInterrupt(vector uint64)
	setTSCAux(v uint64)
	// access copies a word at a guest's address, by the tables that loadRoot loaded last.
	access(at uint64, word *uint64, write bool) bool
	loadRoot(cr3 uint64)
	newRoot(*context)
	leaveRoot()
	invalidate(va uint64)
	rootLoaded() uint64
	now() int64
	// waiting tells whether another thread waits for a CPU.
	waiting() bool
	// isolatedRoot returns the CPU's, which a guest leaves for the root open, and CR3 with it.
	isolatedRoot(open uint64) (*[512]uint64, uint64)
	root(cr3 uint64) *[512]uint64
	rootKept(cpu, context uint64) bool
	dropRoot(cpu uint64)
	lastContext() uint64
	act(spec.Actions)
}

var simulated processor = absent{}

// absent is what other packages' tests have: no page tables are loaded, so that guest memory is
// reached by a walk. It can do nothing else.
type absent struct{ processor }

func (absent) cpu() uint64        { return 0 }
func (absent) rootLoaded() uint64 { return ^uint64(0) }

func (absent) rootKept(uint64, uint64) bool { return false }
func (absent) newRoot(*context)             {}
func (absent) leaveRoot()                   {}

func mxcsrMask() uint32 { return 0xffff }

func policy() spec.Policy { return spec.Policy{} }

//go:nosplit
func act(a spec.Actions) { simulated.act(a) }

func hostFPU() (xcr0 uint64, size int) { return 0, virt.FXSize }

func hostCR4() uint64 { return 0 }

func hostFSGSBase() bool { return true }

//go:nosplit
func interruptsOff() uint64 { return simulated.cpu() }

//go:nosplit
func interruptsOn() {}

//go:nosplit
func enter(c *context) { simulated.enter(c) }

//go:nosplit
func takeInterrupt(vector uint64) { simulated.takeInterrupt(vector) }

//go:nosplit
func setTSCAux(v uint64) { simulated.setTSCAux(v) }

func hostTSCAux() bool { return true }

//go:nosplit
func waiting() bool { return simulated.waiting() }

//go:nosplit
func now() int64 { return simulated.now() }

//go:nosplit
func newRoot(c *context) { simulated.newRoot(c) }

func leaveRoot() { simulated.leaveRoot() }

//go:nosplit
func lastContext() uint64 { return simulated.lastContext() }

//go:nosplit
func rootKept(cpu, context uint64) bool { return simulated.rootKept(cpu, context) }

func dropRoot(cpu uint64) { simulated.dropRoot(cpu) }

//go:nosplit
func loadRoot(cr3 uint64) { simulated.loadRoot(cr3) }

//go:nosplit
func invalidate(va uint64) { simulated.invalidate(va) }

//go:nosplit
func store(to uint64, from *frame, first, words uint64) bool {
	return copyWords(to, from[first:first+words], true)
}

//go:nosplit
func load(to *frame, from, words uint64) bool { return copyWords(from, to[:words], false) }

//go:nosplit
func loadWord(from uint64) (word uint64, ok bool) {
	ok = simulated.access(from, &word, false)
	return word, ok
}

func copyIn(to []byte, from uint64) bool  { return copyBytes(from, to, false) }
func copyOut(to uint64, from []byte) bool { return copyBytes(to, from, true) }
func rootLoaded() uint64                  { return simulated.rootLoaded() }

// copyBytes copies by words of 8 bytes.
func copyBytes(at uint64, b []byte, write bool) bool {
	for i := range b {
		var w uint64
		a := at + uint64(i)
		shift := a % 8 * 8
		if !simulated.access(a&^7, &w, false) {
			return false
		}
		if !write {
			b[i] = byte(w >> shift)
			continue
		}
		w = w&^(0xff<<shift) | uint64(b[i])<<shift
		if !simulated.access(a&^7, &w, true) {
			return false
		}
	}
	return true
}

//go:nosplit
func copyWords(at uint64, words []uint64, write bool) bool {
	for i := range words {
		if !simulated.access(at+uint64(i)*8, &words[i], write) {
			return false
		}
	}
	return true
}

//go:nosplit
func isolatedRoot(open uint64) (*[512]uint64, uint64) { return simulated.isolatedRoot(open) }

//go:nosplit
func root(cr3 uint64) *[512]uint64 { return simulated.root(cr3 & cr3Frame) }

// quickEntry and quickEvent may grow the stack here: what a fuzzer adds to functions takes more of it than is left.
//
//go:noinline
func (v *vcpu) quickEntry(m mm.MFN, i int, val uint64, keep bool) bool {
	return v.gate.MMU.Quick((*mm.Table)(root(uint64(m)<<mm.PageShift)), m, i, val, keep)
}

//go:noinline
func (v *vcpu) quickEvent(port uint32) (ok bool) {
	ok, v.polled = v.gate.Events.Quick(port, int32(v.gate.ID))
	return ok
}

func syncFPU(*vcpu) {}

// Enable implements virt.Machine.
func (m *Machine) Enable() error { return ErrNoRings }

// Disable implements virt.Machine.
func (m *Machine) Disable() {}

// Run implements virt.VCPU.
func (v *vcpu) Run(e *virt.Exit) {
	why := v.loop(true)
	for ; why == stopMoved; why = v.loop(true) {
		v.unkeep()
	}
	v.finish(why, e)
}
