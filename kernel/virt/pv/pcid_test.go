package pv

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"nidus/kernel/virt"
	"nidus/mm"
)

// TestTaggedTLB runs vcpus of two guests, at random, on CPUs that keep each translation until
// they are told otherwise, for the PCID that CR3 has. No guest, and no access by a guest's
// addresses, may use one that it was promised to be gone, of another root than its own, or of a
// frame that is somebody else's by now; and the CPU none of an old GDT, nor, while an isolated
// guest runs, any of the hypervisor.
func TestTaggedTLB(t *testing.T) {
	defer func() { simulated = absent{} }()
	rounds := 6
	if testing.Short() {
		rounds = 1
	}
	for seed := range uint64(8 * rounds) {
		m := newTagged(seed, seed&1 != 0, seed&2 != 0, seed&4 != 0)
		for range 30000 {
			m.step()
			if m.wrong != "" {
				t.Fatalf("seed %d: PCIDs %v, host's view %v, isolated %v: %s", seed, m.pcide, m.hostView, m.isolate, m.wrong)
			}
		}
		if m.stale == 0 && m.pcide || m.used == 0 || m.kernel == 0 && !m.hostView || m.copied == 0 && !m.hostView || m.fast == 0 && !m.hostView && !m.isolate {
			t.Errorf("seed %d: %d stale ones were there, %d used, %d by the gate, %d copies, %d fast", seed, m.stale, m.used, m.kernel, m.copied, m.fast)
		}
	}
}

const (
	slots      = 4 // of a guest's root that it uses, each a page
	stackSlot  = 3 // always mapped by a kernel's
	hostSlot   = 261
	hostRoot   = 1
	isoRoot    = 2 // and one for each CPU
	guestRoots = 8
	numRoots   = 5
	taggedCPUs = 3
)

// tagKey is what a translation is found by.
type tagKey struct{ pcid, page uint64 }

// What page a key means beside slots: of the GDT of a vcpu.
func gdtPage(id, n int) uint64 { return uint64(1000 + 100*id + n) }

type taggedCPU struct {
	cr3     uint64
	tlb     map[tagKey]uint64
	last    uint64 // guestContext
	kept    uint64
	open    uint64
	iso     [512]uint64
	current *taggedVCPU // whose thread it is
	entered bool        // and is in the guest
}

// entryInfo is what there is to know of an entry of a root.
type entryInfo struct {
	root int // the root's incarnation
	gone int // when it was replaced; 0: it is there
}

type taggedVCPU struct {
	*vcpu
	g      *Gate
	domain int
	cpu    int // where its thread is current, or -1
	held   bool
	// promised is when the guest was last told that older translations are gone, by mode, and page:
	// of the one it is told of only that page.
	promised [2][slots]int
}

// promise is one that holds once the vcpu's flush is done.
type promise struct {
	v    *taggedVCPU
	from int
}

// reuse is a root that goes to somebody else once all of a domain's vcpus have flushed.
type reuse struct {
	root, domain int
}

type taggedMachine struct {
	r                        *rand.Rand
	pcide, hostView, isolate bool
	time                     int
	on                       int
	cpus                     [taggedCPUs]*taggedCPU
	vcpus                    []*taggedVCPU
	tables                   [guestRoots + numRoots][512]uint64
	owner                    [guestRoots + numRoots]int // a root's domain; -1: on its way to another
	incarnation              [guestRoots + numRoots]int
	entries                  map[uint64]*entryInfo
	promises                 []promise
	reuses                   []reuse
	clock                    int64
	depth                    int
	wrong                    string

	used, stale, kernel, copied, fast int
}

func newTagged(seed uint64, pcide, hostView, isolate bool) *taggedMachine {
	m := &taggedMachine{r: rand.New(rand.NewPCG(seed, 7)), pcide: pcide, hostView: hostView, isolate: isolate, time: 1, entries: map[uint64]*entryInfo{}}
	simulated = m
	for i := range m.cpus {
		m.cpus[i] = &taggedCPU{cr3: hostRoot << mm.PageShift, tlb: map[tagKey]uint64{}}
	}
	for i := range numRoots {
		m.newRootOf(guestRoots+i, i%2)
	}
	machine := &Machine{cfg: Config{PCID: pcide}, gdt: make([][2]mm.MFN, taggedCPUs)}
	for i := range machine.gdt {
		machine.gdt[i] = [2]mm.MFN{mm.MFN(100 + i), mm.MFN(200 + i)}
	}
	for i := range 5 {
		v := &taggedVCPU{vcpu: &vcpu{m: machine, id: i, ctx: new(context), tables: new([512]uint64), fpu: make([]byte, 512)}, g: new(Gate), domain: i % 2, cpu: -1}
		v.cfg.Notify = func(uint64) {}
		m.vcpus = append(m.vcpus, v)
		m.start(v)
	}
	return m
}

// start makes v a new vcpu, whose context is where an old one's was.
func (m *taggedMachine) start(v *taggedVCPU) {
	*v.ctx = context{}
	v.lastCPU, v.pcids, v.gate, v.prepares = ^uint64(0), pcids{on: m.pcide}, Guest{}, m.pcide || m.isolate
	if m.hostView {
		v.ctx.hostView = 1
	}
	if m.isolate {
		v.ctx.isolated = 1
	}
	*v.g = Gate{Syscall64: Callback{Address: 0x1000}, KernelSP: stackSlot<<39 + 0x800}
	v.g.Traps[virt.VectorPF].Address = 0x1000
	info := &atomic.Pointer[Info]{}
	info.Store(&Info{Page: mm.NewPage()})
	v.SetGuest(Guest{Gate: v.g, Assist: new(atomic.Uint64), Info: info})
	for i := range v.tables {
		v.tables[i] = leaf(mm.MFN(v.id))
	}
	v.g.Root, v.g.UserRoot = m.pickRoot(v.domain), m.pickRoot(v.domain)
	v.SetRoot(v.g.Root, false)
	m.told(v, m.tick(), 0, 1)
}

// newRootOf makes a frame a new root of a domain's.
func (m *taggedMachine) newRootOf(root, domain int) {
	m.incarnation[root] += 1000
	m.incarnation[root] |= root
	m.owner[root] = domain
	for i := range slots {
		m.put(root, i, i == stackSlot || m.r.IntN(2) == 0)
	}
	m.tables[root][hostSlot] = hostSlot << mm.PageShift
}

// put replaces an entry.
func (m *taggedMachine) put(root, slot int, present bool) {
	m.time++
	e := &m.tables[root][slot]
	if i := m.entries[*e]; i != nil {
		i.gone = m.time
	}
	*e = 0
	if present {
		*e = uint64(m.time) << mm.PageShift
		m.entries[*e] = &entryInfo{root: m.incarnation[root]}
	}
}

func (m *taggedMachine) pickRoot(domain int) mm.MFN {
	for {
		if r := guestRoots + m.r.IntN(numRoots); m.owner[r] == domain {
			return mm.MFN(r)
		}
	}
}

func (m *taggedMachine) tick() int { m.time++; return m.time }

// told notes that nothing older than a time is left of modes.
func (m *taggedMachine) told(v *taggedVCPU, at int, modes ...int) {
	for _, mode := range modes {
		for s := range slots {
			v.promised[mode][s] = max(v.promised[mode][s], at)
		}
	}
}

func (m *taggedMachine) fail(format string, args ...any) {
	if m.wrong == "" {
		m.wrong = fmt.Sprintf(format, args...)
	}
}

// settle has promises hold whose flushes are done, and roots change hands.
func (m *taggedMachine) settle() {
	left := m.promises[:0]
	for _, p := range m.promises {
		if p.v.FlushPending() {
			left = append(left, p)
			continue
		}
		m.told(p.v, p.from, 0, 1)
		for n, c := range m.cpus {
			if c.kept != address(p.v.ctx) {
				continue
			}
			for k, e := range c.tlb {
				if i := m.entries[e]; k.pcid == c.cr3&pcidMask && i != nil && i.gone != 0 && i.gone <= p.from {
					m.fail("CPU %d keeps the tables of vcpu %d, and what went at %d", n, p.v.id, i.gone)
				}
			}
		}
	}
	m.promises = left
	for i := len(m.reuses) - 1; i >= 0; i-- {
		u, done := m.reuses[i], true
		for _, v := range m.vcpus {
			done = done && !(v.domain == u.domain && v.FlushPending())
		}
		if done {
			m.reuses = append(m.reuses[:i], m.reuses[i+1:]...)
			for n, c := range m.cpus {
				if c.cr3&cr3Frame>>mm.PageShift == uint64(u.root) {
					m.fail("CPU %d has a root that is somebody else's", n)
				}
			}
			for s := range slots {
				m.put(u.root, s, false)
			}
			m.newRootOf(u.root, m.r.IntN(2))
		}
	}
}

// flush asks vcpus of a domain to forget, as pvFlusher does, but doesn't wait.
func (m *taggedMachine) flush(domain int, some func(*taggedVCPU) bool) {
	at := m.tick()
	for _, v := range m.vcpus {
		if v.domain == domain && some(v) {
			v.RequestFlush()
			m.promises = append(m.promises, promise{v, at})
		}
	}
}

// Threads.

// away takes v's thread from its CPU, which may keep the page tables.
func (m *taggedMachine) away(v *taggedVCPU) {
	if v.cpu < 0 {
		return
	}
	c := m.cpus[v.cpu]
	c.current, v.cpu = nil, -1
	if c.cr3 == hostRoot<<mm.PageShift || c.kept != 0 {
		return
	}
	if c.kept = c.last; m.contextOf(c.last).flush != 0 {
		m.dropNow(c)
	}
}

func (m *taggedMachine) contextOf(a uint64) *context {
	for _, v := range m.vcpus {
		if address(v.ctx) == a {
			return v.ctx
		}
	}
	return new(context)
}

// run makes v's thread the current one of a CPU on which no guest runs.
func (m *taggedMachine) run(v *taggedVCPU) {
	for {
		n := m.r.IntN(taggedCPUs)
		if v.cpu >= 0 && m.r.IntN(4) != 0 {
			n = v.cpu
		}
		c := m.cpus[n]
		if c.entered {
			continue
		}
		if c.current != v {
			if c.current != nil {
				m.away(c.current)
			}
			m.away(v)
			c.current, v.cpu = v, n
		}
		m.on = n
		return
	}
}

// step has one vcpu do something.
func (m *taggedMachine) step() {
	v := m.vcpus[m.r.IntN(len(m.vcpus))]
	if v.held || v.cpu >= 0 && m.cpus[v.cpu].entered {
		return
	}
	m.run(v)
	m.settle()
	if m.r.IntN(3) != 0 {
		m.hypercall(v)
		return
	}
	var e virt.Exit
	v.Run(&e)
}

// hypercall is something that Go does for v.
func (m *taggedMachine) hypercall(v *taggedVCPU) {
	mode := 0
	if v.g.UserMode {
		mode = 1
	}
	slot := m.r.IntN(slots)
	switch m.r.IntN(20) {
	case 0, 1:
		m.put(int(m.pickRoot(v.domain)), slot, slot == stackSlot || m.r.IntN(3) != 0)
	case 2, 3, 4:
		for range m.r.IntN(2) * maxPages {
			v.FlushPage(uint64(slots+1) << 39)
		}
		m.put(int([]mm.MFN{v.g.Root, v.g.UserRoot}[m.r.IntN(2)]), slot, slot == stackSlot || m.r.IntN(3) != 0)
		v.FlushPage(uint64(slot) << 39)
		at := m.tick()
		v.promised[0][slot], v.promised[1][slot] = at, at
	case 5:
		m.flush(v.domain, func(o *taggedVCPU) bool { return o == v })
	case 6:
		m.flush(v.domain, func(o *taggedVCPU) bool { return m.r.IntN(2) == 0 })
	case 7: // as pvRoots.SetRoot
		kernel, root := m.r.IntN(2) == 0, m.pickRoot(v.domain)
		if m.r.IntN(2) == 0 { // the same, which has changed
			if root = v.g.UserRoot; kernel {
				root = v.g.Root
			}
			m.put(int(root), slot, slot == stackSlot || m.r.IntN(3) != 0)
		}
		if kernel {
			v.g.Root = root
		} else {
			v.g.UserRoot = root
		}
		if kernel != v.g.UserMode {
			v.SetRoot(root, !kernel)
			m.told(v, m.tick(), 0, 1)
		} else {
			v.ForgetOther()
			if m.pcide || v.g.Root != v.g.UserRoot { // else there is no load of CR3 between them
				m.told(v, m.tick(), 1-mode)
			}
		}
	case 8: // as pvcpu.ToggleMode
		v.g.UserMode = !v.g.UserMode
		root := v.g.Root
		if v.g.UserMode {
			root = v.g.UserRoot
		}
		v.SwitchRoot(root, v.g.UserMode)
	case 9, 14, 15, 16, 17:
		if v.CopyIn(make([]byte, 8), mm.GuestVirt(slot)<<39) {
			m.copied++
		}
	case 10, 18, 19:
		v.g.Event.Address = 0x1000
		v.Upcall()
	case 11:
		v.SetGDT([]mm.MFN{mm.MFN(m.r.IntN(1000))}, 1)
	case 12: // a root that nobody has goes to somebody else
		root := guestRoots + m.r.IntN(numRoots)
		have := 0
		for r, d := range m.owner {
			if r >= guestRoots && d == m.owner[root] {
				have++
			}
		}
		for _, o := range m.vcpus {
			if o.g.Root == mm.MFN(root) || o.g.UserRoot == mm.MFN(root) {
				return
			}
		}
		if d := m.owner[root]; d >= 0 && have > 1 {
			m.owner[root] = -1
			m.flush(d, func(*taggedVCPU) bool { return true })
			m.reuses = append(m.reuses, reuse{root, d})
		}
	case 13:
		if m.r.IntN(4) == 0 {
			v.Leave()
			m.start(v)
		}
	}
}
