package pv_test

import (
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"

	"nidus/kernel/virt/pv"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/mm/pvmmu"
)

// Where the test's guest has its pages: the L1 table maps the pages from va on.
const (
	tablesBase  = mm.MFN(16)
	tablesGuest = mm.DomID(3)
	tablesVA    = 0x40000000
	tablesList  = kernelStack + 0x800
)

// tables is a guest with a tree of page tables, m[0] to m[3] from L4 to L1, and frames to map, of which m[15]
// is somebody else's.
type tables struct {
	*mm.Pool
	frames  mm.Frames
	lock    sync.Mutex
	pages   map[mm.MFN]mm.Page
	types   *pvmmu.Types
	mmu     *pvmmu.VCPU
	m       []mm.MFN
	flushes []any
}

func (k *tables) Page(m mm.MFN) mm.Page                    { return k.pages[m] }
func (k *tables) FlushAll()                                { k.flushes = append(k.flushes, "all") }
func (k *tables) FlushSet(pvmmu.CPUSet)                    { k.flushes = append(k.flushes, "all") }
func (k *tables) FlushPage(_ pvmmu.CPUSet, a mm.GuestVirt) { k.flushes = append(k.flushes, uint64(a)) }
func (k *tables) SetRoot(bool, mm.MFN)                     {}
func (k *tables) SetLDT(mm.GuestVirt, uint32) error        { return nil }

func newTables(t *testing.T, vcpus int) *tables {
	k := &tables{pages: map[mm.MFN]mm.Page{}}
	const n = 32
	k.frames.Init(make([]mm.FrameInfo, int(tablesBase)+n))
	k.frames.AddRange(tablesBase, tablesBase+n)
	for i := range mm.MFN(n) {
		k.pages[tablesBase+i] = mm.NewPage()
	}
	k.Pool = mm.NewPool(&k.frames, mm.Locked(&k.frames, &k.lock), k)
	k.types = pvmmu.NewTypes(make([]pvmmu.FrameType, int(tablesBase)+n))
	d := pvmmu.NewDomain(pvmmu.Config{ID: tablesGuest, Memory: k.Pool, Types: k.types, Flusher: k})
	k.mmu = d.AddVCPU(k)
	for range vcpus - 1 {
		d.AddVCPU(k)
	}
	for i := range 16 {
		owner := tablesGuest
		if i == 15 {
			owner++
		}
		m, ok := k.AllocFrames(0, mm.FrameGuest, owner, mm.ZoneAny)
		if !ok {
			t.Fatal("no memory")
		}
		k.Page(m).Clear()
		k.m = append(k.m, m)
	}
	for level, i := range []uint64{tablesVA >> 39, tablesVA >> 30, tablesVA >> 21 & 511} {
		k.Page(k.m[level]).Store64(int(8*i), uint64(k.m[level+1])<<12|7)
	}
	k.Page(k.m[2]).Store64(8*(tablesVA>>21&511+1), uint64(k.m[3])<<12) // not present
	for i := range 4 {
		k.Page(k.m[3]).Store64(8*i, uint64(k.m[8+i])<<12|uint64(5+i&1*2))
	}
	for err := pvmmu.ErrAgain; err == pvmmu.ErrAgain; {
		if err = k.mmu.SetRoot(true, k.m[0]); err != nil && err != pvmmu.ErrAgain {
			t.Fatal(err)
		}
	}
	k.flushes = nil
	return k
}

func (k *tables) state() []any {
	var s []any
	for _, m := range k.m {
		var b [64]byte
		k.Page(m).Read(0, b[:])
		s = append(s, b, k.types.Info(m), k.frames.Info(m))
	}
	return append(s, k.flushes)
}

// attach gives the loop's view of the tables to a side.
func (k *tables) attach(s *side) {
	s.memory.Roots = map[mm.MFN]*[512]uint64{}
	for m := range k.pages {
		s.memory.Roots[m] = (*[512]uint64)(k.Table(m))
	}
	s.cpu.Root, s.cpu.UserMode = k.m[0], false
	s.hw.SetRoot(k.m[0], false)
	s.memory.Root = k.m[0]
	s.memory.Words[k.m[0]] = s.memory.Words[kernelRoot]
	s.setGuest(k.mmu)
}

// TestTables lets the same changes of page tables be done by the loop and by package pvmmu, as package hypercall
// asks for them: what the loop does is the same, and of what it doesn't do it has done a beginning, which it
// took off the list.
func TestTables(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var done, partial, refused [2]int
	for range 3000 {
		vcpus := 1 + r.IntN(2)
		a, b := newTables(t, vcpus), newTables(t, vcpus)
		s := newSide(uint64(2*r.IntN(50)), false)
		s.SetUpcallMask(true)
		b.attach(s)
		s.memory.Simulate()
		value := func() uint64 {
			v := uint64(a.m[r.IntN(16)])<<12 | r.Uint64()&0x67 | 1
			switch r.IntN(12) {
			case 0:
				v &^= 1
			case 1:
				v |= 0x98
			case 2:
				return 0
			case 3:
				return r.Uint64()
			}
			return v
		}
		regs := s.hw.Regs()
		old := *regs
		kind := r.IntN(2)
		ok := true
		if kind == 0 {
			n := []uint64{0, 1, 1, 2, 3, 32, 33, 1 << 31}[r.IntN(8)]
			var list [][2]uint64
			for i := range n % 64 {
				at := a.m[3]
				if r.IntN(20) == 0 {
					at = []mm.MFN{a.m[r.IntN(16)], 0, 1 << 30, 1 << 51}[r.IntN(4)]
				}
				u := [2]uint64{uint64(at)<<12 | uint64(r.IntN(8))<<3 | []uint64{0, 0, 0, 0, 2, 3, 1, 4}[r.IntN(8)], value()}
				list = append(list, u)
				for j := range u {
					s.memory.Words[b.m[0]][tablesList+16*i+8*uint64(j)] = u[j]
				}
			}
			regs.RAX, regs.RDI, regs.RSI, regs.RDX, regs.R10 = xenabi.HypercallMMUUpdate, tablesList, n, 0, uint64(mm.DomIDSelf)
			switch r.IntN(16) {
			case 0:
				regs.RDX = tablesList
			case 1:
				regs.R10 = []uint64{uint64(mm.DomIDXen), 1<<16 | uint64(mm.DomIDSelf), 0}[r.IntN(3)]
			case 2:
				regs.RDI = xenabi.HypervisorVirtStart64 - 8
				s.memory.Words[b.m[0]][regs.RDI], s.memory.Words[b.m[0]][regs.RDI+8] = uint64(b.m[3])<<12, 0
			}
			asked := *regs
			plain := regs.RDX == 0 && regs.R10 == uint64(mm.DomIDSelf) && regs.RDI == tablesList && n <= 32
			ok = s.hw.FastExit(pv.VecSyscall, 0, 0) >= pv.FastReturn
			took := int(n)
			if !plain && (ok || regs.RSI != n) {
				t.Fatalf("done: %+v", asked)
			}
			if !ok {
				took = int(n - regs.RSI)
				if regs.RDI != asked.RDI+16*uint64(took) || regs.RAX != asked.RAX {
					t.Fatalf("after %d of %d: %+v", took, n, *regs)
				}
			}
			for _, u := range list[:took] {
				if err := a.mmu.Update(u[0], u[1]); err != nil {
					t.Fatalf("done, but %#x is %v", u, err)
				}
			}
			if took > 0 && !ok {
				partial[kind]++
			}
		} else {
			va, val := uint64(tablesVA)+uint64(r.IntN(8))<<12, value()
			if r.IntN(10) == 0 {
				va = []uint64{0, 1 << 46, 1 << 47, xenabi.HypervisorVirtStart64, xenabi.HypervisorVirtEnd64, tablesVA + 1<<21, tablesVA | 1<<48, r.Uint64()}[r.IntN(8)]
			}
			flags := []uint64{0, 1, 2, 5, 6, 3, kernelStack | 2}[r.IntN(7)]
			regs.RAX, regs.RDI, regs.RSI, regs.RDX = xenabi.HypercallUpdateVAMapping, va, val, flags
			ok = s.hw.FastExit(pv.VecSyscall, 0, 0) >= pv.FastReturn
			if ok {
				if err := a.mmu.UpdateVA(mm.GuestVirt(va), val); err != nil {
					t.Fatalf("done, but %#x, %#x is %v", va, val, err)
				}
				local := flags&^3 == 0 || flags&^3 == 4 && vcpus == 1
				if flags&3 == 3 || flags&3 != 0 && !local || (flags&3 == 2) != reflect.DeepEqual(s.memory.Invalidated, []uint64{va}) || (flags&3 == 1) != (s.memory.Loads == 1) {
					t.Fatalf("flags %#x with %d vcpus: %#x invalidated, %d loads", flags, vcpus, s.memory.Invalidated, s.memory.Loads)
				}
			}
		}
		if ok {
			done[kind]++
			if regs.RAX != 0 {
				t.Fatalf("result %#x", regs.RAX)
			}
		} else {
			refused[kind]++
			if len(s.memory.Invalidated) != 0 || s.memory.Loads != 0 {
				t.Fatal("refused, but flushed")
			}
		}
		regs.RAX, regs.RDI, regs.RSI, regs.RDX, regs.R10 = old.RAX, old.RDI, old.RSI, old.RDX, old.R10
		if ok {
			old.RFLAGS = regs.RFLAGS
		}
		if *regs != old {
			t.Fatalf("other registers: %+v, %+v", *regs, old)
		}
		if x, y := a.state(), b.state(); !reflect.DeepEqual(x, y) {
			t.Fatalf("by package pvmmu:\n%v\nby the loop:\n%v", x, y)
		}
	}
	if done[0] < 200 || done[1] < 500 || partial[0] < 100 || refused[0] < 300 || refused[1] < 300 {
		t.Errorf("done: %d, in part: %d, refused: %d", done, partial, refused)
	}
}

// TestForeign: an entry that has a frame which is no longer the guest's is for Go, and so is all without tables.
func TestForeign(t *testing.T) {
	k := newTables(t, 1)
	s := newSide(2, false)
	k.attach(s)
	s.memory.Simulate()
	// The owner's reference to the frame that is mapped goes first.
	if last, st := k.frames.Disown(k.m[8], tablesGuest); last || st != mm.FrameOK {
		t.Fatal(st)
	}
	regs := s.hw.Regs()
	regs.RAX, regs.RDI, regs.RSI, regs.RDX = xenabi.HypercallUpdateVAMapping, tablesVA, 0, 0
	if got := s.hw.FastExit(pv.VecSyscall, 0, 0); got != pv.FastRefused {
		t.Errorf("somebody else's frame: %d", got)
	}
	s.setGuest(nil)
	if got := s.hw.FastExit(pv.VecSyscall, 0, 0); got != pv.FastRefused {
		t.Errorf("without tables: %d", got)
	}
}
