package pv

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/paging"
)

// writer is a vcpu whose kernel is about to write to its page tables.
type writer struct {
	*testing.T
	*vcpu
	bits int
	pt   []uint64 // where its page tables are mapped, by level
	free uint64   // where pages of no use are
}

// newWriter makes a guest, and finds its tables for its kernel's text.
func newWriter(t *testing.T, bits int) *writer {
	m := newMachine(t, frames)
	d, err := Build(context.Background(), m.Host, config(t, m, bits))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Destroy(); err != nil {
			t.Error(err)
		}
		m.CheckFree(t)
	})
	w := &writer{t, &vcpu{VCPU: d.VCPUs[0]}, bits, make([]uint64, 5), 0}
	var s xenabi.StartInfo
	if !xenabi.Decode(d.PV.Width, at(t, d, w.HV.Regs().RSI, xenabi.Size(d.PV.Width, &s)), &s) {
		t.Fatal("no start_info")
	}
	for i := range s.NrPTFrames {
		va := s.PTBase + i*mm.PageSize
		if _, level := w.table(mm.GuestVirt(va)); level > 0 && w.pt[level] == 0 {
			w.pt[level] = va
		}
	}
	w.free = s.PTBase + (s.NrPTFrames+2)*mm.PageSize // behind the stack
	return w
}

// page makes page n of those of no use one that can be a page table, with entries, and returns
// an entry for it.
func (w *writer) page(n int, entries ...uint64) uint64 {
	w.Helper()
	va := mm.GuestVirt(w.free) + mm.GuestVirt(n)*mm.PageSize
	for i, e := range entries {
		if err := w.CopyOut(va+mm.GuestVirt(8*i), binary.LittleEndian.AppendUint64(nil, e)); err != nil {
			w.Fatal(err)
		}
	}
	m, _ := w.MMU.Translate(true, va)
	if err := w.MMU.UpdateVA(va, uint64(m.Frame)<<mm.PageShift|1); err != nil {
		w.Fatal(err)
	}
	return uint64(m.Frame)<<mm.PageShift | 1
}

// entry is where entry i of the first table of a level is.
func (w *writer) entry(level, i int) uint64 { return w.pt[level] + uint64(8*i) }

func (w *writer) word(va uint64) uint64 {
	return binary.LittleEndian.Uint64(at(w.T, w.Domain, va, 8))
}

// run lets the kernel fault at va with code at its RIP.
func (w *writer) run(code []byte, va uint64, bits uint32) bool {
	w.Helper()
	text := base(w.bits) + text
	if err := w.CopyOut(mm.GuestVirt(text), code); err != nil {
		w.Fatal(err)
	}
	w.HV.Regs().RIP = text
	if err := w.HV.Set(virt.CR2, va); err != nil {
		w.Fatal(err)
	}
	return w.tableWrite(virt.Event{Vector: virt.VectorPF, HasCode: true, Code: bits})
}

// The instructions: *RDI = RAX (EDI, EAX), REP STOS of such, XCHG, and MOV by another segment.
var (
	store = map[int][]byte{64: {0x48, 0x89, 0x07}, 32: {0x89, 0x07}}
	stos  = map[int][]byte{64: {0xf3, 0x48, 0xab}, 32: {0xf3, 0xab}}
	xchg  = map[int][]byte{64: {0x48, 0x87, 0x07}, 32: {0x87, 0x07}}
)

const wrote = paging.PFPresent | paging.PFWrite

// TestTableWrite: a kernel writes to tables of all levels without having asked for it, and what
// mmu_update refuses is its page fault.
func TestTableWrite(t *testing.T) {
	for _, bits := range []int{64, 32} {
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			w := newWriter(t, bits)
			top := 4
			if bits == 32 {
				top = 3
			}
			frame := func(level int) uint64 { // of its first table
				m, _ := w.MMU.Translate(true, mm.GuestVirt(w.pt[level]))
				return uint64(m.Frame) << mm.PageShift
			}
			const free = 400 // an entry that is used by nothing
			type try struct {
				name string
				va   uint64
				val  uint64
				done bool
			}
			tries := []try{
				{"an L1 entry", w.entry(1, free), frame(1) | 1, true},
				{"it is cleared", w.entry(1, free), 0, true},
				{"an L2 entry", w.entry(2, free), frame(1) | 1, true},
				{"it is cleared", w.entry(2, free), 0, true},
				{"an L1 entry that makes a table writable", w.entry(1, free), frame(2) | 3, false},
				{"an L1 entry for frame 0", w.entry(1, free), 1, false},
				{"a large page", w.entry(2, free), frame(1) | 0x81, false},
				{"an L2 entry for an L3 table", w.entry(2, free), frame(3) | 1, false},
				{"a linear entry that could be written by", w.entry(2, free), frame(2) | 3, false},
				{"not aligned", w.entry(2, free) + 1, 0, false},
			}
			if bits == 64 {
				tries = append(tries,
					try{"an L4 entry", w.entry(4, free), frame(3) | 1, true},
					try{"it is cleared", w.entry(4, free), 0, true},
					try{"the hypervisor's L4 entry", w.entry(4, 256), 0, false})
			} else {
				tries = append(tries, try{"behind the four of an L3 table", w.entry(3, 4), 0, false})
			}
			for _, x := range tries {
				was := uint64(0)
				if x.va&7 == 0 {
					was = w.word(x.va)
				}
				r := w.HV.Regs()
				r.RDI, r.RAX = x.va, x.val
				if done := w.run(store[bits], x.va, wrote); done != x.done {
					t.Errorf("%s: %v", x.name, done)
				}
				moved := r.RIP != base(bits)+text
				if moved != x.done {
					t.Errorf("%s: RIP %#x", x.name, r.RIP)
				}
				if x.va&7 != 0 {
					continue
				}
				const set = ^uint64(4) // but for the user bit that a present entry gets
				switch got := w.word(x.va); {
				case !x.done && got != was:
					t.Errorf("%s: %#x became %#x", x.name, was, got)
				case x.done && got&set != x.val&set:
					t.Errorf("%s: %#x is there", x.name, got)
				}
			}
			if n := w.Domain.PV.MMU.TableLevel(w.MMU.Root(true)); n != top {
				t.Errorf("the root is a table of level %d", n)
			}
			if w.unmaking() {
				t.Error("there is something to unmake")
			}
		})
	}
}

// TestTableWriteREP: a REP goes on for one entry each time where each may be long work, and
// ends before the one that is refused.
func TestTableWriteREP(t *testing.T) {
	w := newWriter(t, 64)
	r := w.HV.Regs()
	m, _ := w.MMU.Translate(true, mm.GuestVirt(w.pt[3]))
	for _, val := range []uint64{uint64(m.Frame)<<mm.PageShift | 1, 0} {
		r.RDI, r.RAX, r.RCX = w.entry(4, 400), val, 3
		for left := uint64(2); left != ^uint64(0); left-- {
			if !w.run(stos[64], r.RDI, wrote) || r.RCX != left {
				t.Fatalf("value %#x: %d are left, want %d", val, r.RCX, left)
			}
		}
		if got := w.word(w.entry(4, 402)); got&^4 != val {
			t.Errorf("%#x, want %#x", got, val)
		}
	}
	// Down from the first entry of an L1 to an L2, where a page is refused that is no table.
	page, _ := w.MMU.Translate(true, mm.GuestVirt(w.free))
	r.RDI, r.RAX, r.RCX, r.RFLAGS = w.entry(1, 0), uint64(page.Frame)<<mm.PageShift|1, 2, r.RFLAGS|0x400
	if !w.run(stos[64], r.RDI, wrote) || r.RCX != 1 || r.RDI != w.entry(1, -1) || r.RIP != base(64)+text {
		t.Errorf("the first entry: %+v", *r)
	}
	if _, level := w.table(mm.GuestVirt(r.RDI)); level < 2 || w.run(stos[64], r.RDI, wrote) {
		t.Errorf("a page in a table of level %d", level)
	}
}

func TestTableWriteXCHG(t *testing.T) {
	w := newWriter(t, 64)
	r := w.HV.Regs()
	r.RDI, r.RAX = w.entry(4, 400), 0x1000 // not present, so of any value
	if !w.run(xchg[64], r.RDI, wrote) || r.RAX != 0 || w.word(r.RDI) != 0x1000 {
		t.Errorf("%#x was there, %#x is", r.RAX, w.word(r.RDI))
	}
}

// TestTableWriteUnmakes: a large tree comes by one write, which is repeated until it is valid,
// and goes by one, after which the guest does not go on before all of it is unmade.
func TestTableWriteUnmakes(t *testing.T) {
	w := newWriter(t, 64)
	r := w.HV.Regs()
	const tables = 8
	var l1 []uint64
	for i := range tables {
		l1 = append(l1, w.page(i))
	}
	r.RDI, r.RAX = w.entry(4, 400), w.page(tables+1, w.page(tables, l1...))
	again := 0
	for ; ; again++ {
		if !w.run(store[64], r.RDI, wrote) {
			t.Fatal("refused")
		}
		if r.RIP != base(64)+text {
			break
		}
	}
	if again == 0 || w.unmaking() {
		t.Errorf("repeated %d times", again)
	}
	r.RAX = 0
	if !w.run(store[64], r.RDI, wrote) || r.RIP == base(64)+text || !w.unmakes {
		t.Errorf("RIP %#x, more to unmake: %v", r.RIP, w.unmakes)
	}
	for w.unmaking() {
	}
	for i := range tables + 2 { // all of it can be written again
		va := mm.GuestVirt(w.free) + mm.GuestVirt(i)*mm.PageSize
		m, _ := w.MMU.Translate(true, va)
		if err := w.MMU.UpdateVA(va, uint64(m.Frame)<<mm.PageShift|3); err != nil {
			t.Errorf("page %d: %v", i, err)
		}
	}
}

// TestTableWriteNot: what is no write of the kernel's to a page table stays its page fault.
func TestTableWriteNot(t *testing.T) {
	w := newWriter(t, 64)
	l1 := w.entry(1, 400)
	for _, x := range []struct {
		name      string
		code      []byte
		rdi, va   uint64
		bits      uint32
		asProcess bool
	}{
		{"a read", store[64], l1, l1, paging.PFPresent, false},
		{"nothing is mapped", store[64], l1, l1, paging.PFWrite, false},
		{"reserved bits", store[64], l1, l1, wrote | paging.PFReserved, false},
		{"a fetch", store[64], l1, l1, wrote | paging.PFFetch, false},
		{"a process", store[64], l1, l1, wrote, true},
		{"no table", store[64], base(64) + text, base(64) + text, wrote, false},
		{"nothing there", store[64], 0x1000, 0x1000, wrote, false},
		{"the hypervisor's addresses", store[64], 0xffff800000000000, 0xffff800000000000, wrote, false},
		{"an address that is none", store[64], 1 << 60, 1 << 60, wrote, false},
		{"it writes elsewhere", store[64], l1 + 8, l1, wrote, false},
		{"it writes to memory that it may write", store[64], base(64) + text + 64, l1, wrote, false},
		{"no instruction", []byte{0xff, 0xff, 0xff}, l1, l1, wrote, false},
		{"a stack", []byte{0x50}, l1, l1, wrote, false},
	} {
		r := w.HV.Regs()
		r.RDI, r.RAX = x.rdi, 0
		w.PV.UserMode = x.asProcess
		before := *r
		before.RIP = base(64) + text
		if w.run(x.code, x.va, x.bits) || *r != before {
			t.Errorf("%s: carried out; %+v", x.name, *r)
		}
		w.PV.UserMode = false
	}
	for level := 1; level <= 4; level++ {
		m, _ := w.MMU.Translate(true, mm.GuestVirt(w.pt[level]))
		if n := w.Domain.PV.MMU.TableLevel(m.Frame); n != level {
			t.Errorf("level %d, want %d", n, level)
		}
	}
	for _, m := range []mm.MFN{0, 1 << 40} {
		if n := w.Domain.PV.MMU.TableLevel(m); n != 0 {
			t.Errorf("frame %#x: level %d", m, n)
		}
	}
}
