package pv

import (
	"nidus/kernel/virt"
	"nidus/kernel/virt/spec"
	"nidus/kernel/xenabi"
	"nidus/mm"
)

// The processor of TestTaggedTLB.

func (m *taggedMachine) here() *taggedCPU { return m.cpus[m.on] }

func (m *taggedMachine) load3(c *taggedCPU, cr3 uint64) {
	keep := cr3 & keepTLB
	cr3 &^= keepTLB
	if !m.pcide && (keep != 0 || cr3&pcidMask != 0) {
		m.fail("CR3 %#x", cr3|keep)
	}
	if keep == 0 {
		for k := range c.tlb {
			if k.pcid == cr3&pcidMask {
				delete(c.tlb, k)
			}
		}
	}
	c.cr3 = cr3
}

// find is the entry that the CPU uses for a page: what it remembers, or what entry says.
func (m *taggedMachine) find(c *taggedCPU, page, entry uint64) uint64 {
	k := tagKey{c.cr3 & pcidMask, page}
	if e, ok := c.tlb[k]; ok {
		return e
	}
	if entry != 0 {
		c.tlb[k] = entry
	}
	return entry
}

func (m *taggedMachine) root(cr3 uint64) *[512]uint64 {
	r := int(cr3 & cr3Frame >> mm.PageShift)
	if r >= isoRoot && r < isoRoot+taggedCPUs {
		return &m.cpus[r-isoRoot].iso
	}
	return &m.tables[r]
}

// use uses a page by v's addresses, and tells whether it is there.
func (m *taggedMachine) use(v *taggedVCPU, slot int) bool {
	m.settle()
	c := m.here()
	e := m.find(c, uint64(slot), m.root(c.cr3)[slot])
	m.used++
	if e == 0 {
		return false
	}
	mode, root := 0, v.g.Root
	if v.g.UserMode {
		mode, root = 1, v.g.UserRoot
	}
	switch i := m.entries[e]; {
	case i == nil:
		m.fail("vcpu %d uses %#x", v.id, e)
	case i.root != m.incarnation[root]:
		m.fail("vcpu %d on root %d uses an entry of %d", v.id, m.incarnation[root], i.root)
	case i.gone != 0 && i.gone <= v.promised[mode][slot]:
		m.fail("vcpu %d uses what went at %d, and was promised at %d to be gone", v.id, i.gone, v.promised[mode][slot])
	case i.gone != 0:
		m.stale++
	}
	return true
}

// What the vcpu's code asks of a processor.

func (m *taggedMachine) cpu() uint64          { return uint64(m.on) }
func (m *taggedMachine) lastContext() uint64  { return m.here().last }
func (m *taggedMachine) takeInterrupt(uint64) {}
func (m *taggedMachine) setTSCAux(uint64)     {}
func (m *taggedMachine) act(spec.Actions)     {}
func (m *taggedMachine) loadRoot(cr3 uint64)  { m.load3(m.here(), cr3) }
func (m *taggedMachine) rootLoaded() uint64   { return m.here().cr3 }
func (m *taggedMachine) now() int64           { m.clock += 1e6; return m.clock }
func (m *taggedMachine) rootKept(cpu, c uint64) bool {
	return cpu < taggedCPUs && m.cpus[cpu].kept == c
}

func (m *taggedMachine) newRoot(c *context) {
	if v := m.here().current; v != nil && m.r.IntN(4) == 0 { // it gives way just before
		m.away(v)
		v.held = true
		m.step()
		v.held = false
		m.run(v)
	}
	p := m.here()
	if p.cr3 == hostRoot<<mm.PageShift || p.last != address(c) {
		return
	}
	m.load3(p, c.cr3)
	c.reload, p.kept = 0, 0
}

func (m *taggedMachine) leaveRoot() { m.dropNow(m.here()) }

func (m *taggedMachine) dropNow(c *taggedCPU) {
	m.load3(c, hostRoot<<mm.PageShift)
	c.kept = 0
}

// dropRoot may take a while.
func (m *taggedMachine) dropRoot(cpu uint64) {
	if c := m.cpus[cpu]; c.kept != 0 && m.r.IntN(3) != 0 {
		m.dropNow(c)
	}
}

func (m *taggedMachine) isolatedRoot(open uint64) (*[512]uint64, uint64) {
	c := m.here()
	if open == 0 {
		open = hostRoot << mm.PageShift
		if m.pcide {
			open |= keepTLB
		}
	}
	c.open = open
	return &c.iso, uint64(isoRoot+m.on) << mm.PageShift
}

func (m *taggedMachine) access(at uint64, word *uint64, write bool) bool {
	if !m.use(m.here().current, int(at>>39)) {
		return false
	}
	m.kernel++
	if !write {
		*word = 3 // iret's frame is one of a process
	}
	return true
}

// enter is what the assembly does.
func (m *taggedMachine) enter(c *context) {
	p := m.here()
	v := p.current
	p.last = address(c)
	if p.cr3 != c.cr3 || c.reload != 0 {
		m.load3(p, c.cr3|c.keep)
	} else {
		for _, va := range c.pages[:c.npages] {
			delete(p.tlb, tagKey{p.cr3 & pcidMask, va >> 39})
		}
	}
	p.kept, c.reload, c.npages = 0, 0, 0
	for n, want := range map[int]uint64{0: v.tables[0], gdtOwnPage: leaf(v.m.gdt[m.on][0])} {
		if e := m.find(p, gdtPage(v.id, n), v.tables[n]); e != want {
			m.fail("vcpu %d on CPU %d has %#x for page %d of its GDT, not %#x", v.id, m.on, e, n, want)
		}
	}
	m.find(p, hostSlot, hostSlot)
	if m.r.IntN(10) == 0 {
		c.vec = vecBadState
	} else {
		if c.isolated != 0 {
			m.load3(p, c.isolated)
			if _, ok := p.tlb[tagKey{p.cr3 & pcidMask, hostSlot}]; ok {
				m.fail("an isolated guest's PCID knows the hypervisor")
			}
		}
		m.inGuest(v)
		for c.fast = 0; !m.hostView && !m.isolate && m.r.IntN(3) != 0; {
			if c.fast = m.fastExit(v); c.fast < fastReturn {
				break
			}
			m.inGuest(v)
		}
		if c.fast >= fastReturn {
			c.fast = 0
		}
		if c.isolated != 0 {
			m.load3(p, p.open)
		}
	}
	if c.hostView != 0 && p.cr3 != hostRoot<<mm.PageShift {
		m.load3(p, hostRoot<<mm.PageShift)
	}
	m.find(p, hostSlot, hostSlot)
}

// inGuest lets v's code use pages, and others run meanwhile, and exits.
func (m *taggedMachine) inGuest(v *taggedVCPU) {
	c, p := v.ctx, m.here()
	c.cs, c.err = SelCode64, 0
	c.regs.RSP = stackSlot<<39 + 0x100
	for range m.r.IntN(6) {
		if slot := m.r.IntN(slots); !m.use(v, slot) {
			c.vec, c.err, c.cr2 = virt.VectorPF, faultUser, uint64(slot)<<39
			return
		}
		if m.depth < taggedCPUs-1 && m.r.IntN(3) == 0 {
			on := m.on
			p.entered = true
			m.depth++
			m.step()
			m.depth--
			p.entered = false
			m.on = on
		}
	}
	switch m.r.IntN(4) {
	case 0:
		c.vec, c.err = virt.VectorGP, 8
	case 1:
		c.vec = firstInterrupt + 1
		if m.r.IntN(2) == 0 {
			c.kick = 1
		}
	default:
		c.vec, c.regs.RAX = vecSyscall, xenabi.HypercallIret
		if m.r.IntN(4) == 0 {
			c.regs.RAX = xenabi.HypercallSchedOp
		}
	}
}

// fastExit is what the entry code does with an exit; before, the exit may be a hypercall that changes
// an entry and has the loop forget its page, or all.
func (m *taggedMachine) fastExit(v *taggedVCPU) uint64 {
	if slot := m.r.IntN(slots); m.r.IntN(3) == 0 {
		m.put(int([]mm.MFN{v.g.Root, v.g.UserRoot}[m.r.IntN(2)]), slot, slot == stackSlot || m.r.IntN(3) != 0)
		if m.r.IntN(2) == 0 {
			v.forgetPageNow(uint64(slot) << 39)
			at := m.tick()
			v.promised[0][slot], v.promised[1][slot] = at, at
		} else {
			v.forgetNow()
			m.told(v, m.tick(), 0, 1)
		}
	}
	did := fastExit(v.vcpu)
	if p := m.here(); did >= fastReturn {
		m.fast++
		if p.cr3 != v.ctx.cr3 {
			m.load3(p, v.ctx.cr3|v.ctx.keep)
		}
	}
	return did
}

func (m *taggedMachine) invalidate(va uint64) {
	p := m.here()
	delete(p.tlb, tagKey{p.cr3 & pcidMask, va >> 39})
}

func (m *taggedMachine) waiting() bool { return true }
