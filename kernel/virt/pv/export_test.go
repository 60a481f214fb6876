package pv

import (
	"nidus/kernel/virt"
	"nidus/kernel/virt/spec"
	"nidus/mm"
)

// Bare is a vcpu without a machine: its registers, and the way through its Gate.
type Bare struct{ *vcpu }

// NewBare returns one whose guest runs 64-bit code, or hostView: with the host's page tables
// after each exit.
func NewBare(hostView bool, constant virt.Constant) Bare {
	v := &vcpu{ctx: new(context), cfg: virt.Config{Constant: constant}}
	v.ctx.cs, v.ctx.ss = SelCode64, SelData
	v.sys[virt.EFER] = virt.EFERLME | virt.EFERLMA
	if hostView {
		v.ctx.hostView = 1
	}
	return Bare{v}
}

// Pass makes an exit by a vector, VecSyscall among them, with an error code, and returns what
// pass does.
func (b Bare) Pass(vec, code, cr2 uint64) bool {
	b.ctx.vec, b.ctx.err, b.ctx.cr2 = vec, code, cr2
	return b.pass()
}

// FastExit makes such an exit as the entry code does, under a Gate: fastExit's answer.
func (b Bare) FastExit(vec, code, cr2 uint64) uint64 {
	b.ctx.vec, b.ctx.err, b.ctx.cr2 = vec, code, cr2
	b.m = new(Machine)
	defer func() { b.m = nil }()
	return fastExit(b.vcpu)
}

// Settle does what an exit left for Go.
func (b Bare) Settle() { b.settle() }

// FastCalls are the hypercalls that fastExit is asked for.
const FastCalls = fastCalls

// Answers of fastExit.
const (
	FastRefused, FastLook, FastReturn, FastSysret = fastRefused, fastLook, fastReturn, fastSysret
)

// Due is whether an event would be delivered.
func (b Bare) Due() bool { return b.gate.Info.Load().Due() }

// Deliver delivers it as pass does.
func (b Bare) Deliver() bool { return b.upcall() }

// Selectors sets CS and SS as the processor has them.
func (b Bare) Selectors(cs, ss uint64) { b.ctx.cs, b.ctx.ss = cs, ss }

// Snapshot is all that an exit may change.
func (b Bare) Snapshot() any {
	c := *b.ctx
	c.vec, c.err, c.cr2 = 0, 0, 0
	return [...]any{c, b.sys}
}

// VecSyscall is SYSCALL.
const VecSyscall = vecSyscall

// Clock is the time.
const Clock = 0x123456789a

// Memory is what a guest's addresses reach: words by their address, by page tables.
type Memory struct {
	Words map[mm.MFN]map[uint64]uint64
	Root  mm.MFN // that is loaded
	// Roots are L4s, Isolated the CPU's isolated root, and Open what its guest leaves it for.
	Roots    map[mm.MFN]*[512]uint64
	Isolated mm.MFN
	Open     uint64
	// Invalidated are the pages that were, Loads counts loads of page tables.
	Loads       int
	Invalidated []uint64
	Waiting     bool // another thread waits for a CPU
	// kept says which CPU keeps the page tables of which context, drops which were asked not to:
	// they don't, unless deaf.
	kept  map[uint64]uint64
	drops []uint64
	deaf  bool
}

// Simulate makes m the memory of all.
func (m *Memory) Simulate() { simulated = m }

func (m *Memory) enter(*context)       {}
func (m *Memory) cpu() uint64          { return 0 }
func (m *Memory) takeInterrupt(uint64) {}
func (m *Memory) setTSCAux(uint64)     {}
func (m *Memory) loadRoot(cr3 uint64)  { m.Root = mm.MFN(cr3 >> mm.PageShift); m.Loads++ }
func (m *Memory) invalidate(va uint64) { m.Invalidated = append(m.Invalidated, va) }
func (m *Memory) now() int64           { return Clock }
func (m *Memory) waiting() bool        { return m.Waiting }
func (m *Memory) rootLoaded() uint64   { return uint64(m.Root) << mm.PageShift }
func (m *Memory) rootKept(cpu, context uint64) bool {
	k, ok := m.kept[cpu]
	return ok && k == context
}
func (m *Memory) dropRoot(cpu uint64) {
	if m.drops = append(m.drops, cpu); !m.deaf {
		delete(m.kept, cpu)
	}
}
func (m *Memory) newRoot(c *context)  { c.reload = 0 }
func (m *Memory) leaveRoot()          {}
func (m *Memory) lastContext() uint64 { return 0 }
func (m *Memory) act(spec.Actions)    {}
func (m *Memory) root(cr3 uint64) *[512]uint64 {
	return m.Roots[mm.MFN(cr3>>mm.PageShift)]
}
func (m *Memory) isolatedRoot(open uint64) (*[512]uint64, uint64) {
	m.Open = open
	return m.Roots[m.Isolated], uint64(m.Isolated) << mm.PageShift
}
func (m *Memory) access(at uint64, word *uint64, write bool) bool {
	old, ok := m.Words[m.Root][at]
	if !ok {
		return false
	}
	if write {
		m.Words[m.Root][at] = *word
	} else {
		*word = old
	}
	return true
}

// Running tells whether who takes memory away waits for the vcpu.
func (b Bare) Running() bool { return b.ctx.running != 0 }
