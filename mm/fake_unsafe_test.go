package mm

import (
	"sync"
	"testing"
	"unsafe"
)

// machine is a small machine in Go's heap: frames [base, base+n) are RAM.
type machine struct {
	*Pool
	f    Frames
	lock sync.Mutex
	ram  []byte
	base MFN
	n    uint64

	// before FreeFrames and FreeTable
	onFree func(m MFN, order uint)
	// of the domain under test
	onFlush func()
	// before an operation on frames that needs no lock
	onFrames func()
	// before a page is reached
	onPage func(MFN)
}

func newMachine(tb testing.TB, base MFN, n uint64) *machine {
	tb.Helper()
	k := &machine{base: base, n: n}
	k.ram = unsafe.Slice((*byte)(unsafe.Pointer(&make([]uint64, (n+1)*PageSize/8)[0])), (n+1)*PageSize)
	k.f.Init(make([]FrameInfo, uint64(base)+n))
	if s := k.f.AddRange(base, base+MFN(n)); s != FrameOK {
		tb.Fatalf("AddRange: %v", s)
	}
	k.Pool = NewPool(&k.f, Locked(&k.f, &k.lock), k)
	return k
}

func (k *machine) Page(m MFN) Page {
	if k.onPage != nil {
		k.onPage(m)
	}
	if m < k.base || uint64(m-k.base) >= k.n {
		panic("the page is not RAM")
	}
	p := unsafe.Pointer(&k.ram[0])
	p = unsafe.Add(p, -uintptr(p)&PageMask)
	return PageAt(unsafe.Add(p, uintptr(m-k.base)*PageSize))
}

func (k *machine) Table(m MFN) *Table { return k.Page(m).Table() }

func (k *machine) AllocTable(d DomID) (MFN, bool) { return k.Pool.AllocTable(d) }

func (k *machine) FreeTable(m MFN) {
	if k.onFree != nil {
		k.onFree(m, 0)
	}
	k.Pool.FreeTable(m)
}

func (k *machine) FreeFrames(m MFN, order uint) FrameStatus {
	if k.onFree != nil {
		k.onFree(m, order)
	}
	return k.Pool.FreeFrames(m, order)
}

func (k *machine) Frames() *Frames {
	if k.onFrames != nil {
		k.onFrames()
	}
	return k.Pool.Frames()
}

func (k *machine) FlushGuest(*P2M) {
	if k.onFlush != nil {
		k.onFlush()
	}
}

func (k *machine) space(tb testing.TB, f *Format, maxPages uint64) *Space {
	tb.Helper()
	s, err := NewSpace(SpaceConfig{Owner: 7, Memory: k, Flusher: k, Format: f,
		MaxOrder: 18, MaxTables: 4096, MaxPages: maxPages})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// allFree fails the test unless all RAM is free.
func (k *machine) allFree(tb testing.TB) {
	tb.Helper()
	if st := k.Stats(); st.Free != st.Total {
		tb.Fatalf("%d of %d frames leaked: %v", st.Total-st.Free, st.Total, st.Kinds)
	}
}
