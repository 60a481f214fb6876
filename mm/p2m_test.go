package mm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestFormats checks entries against the manuals' layout.
func TestFormats(t *testing.T) {
	for _, c := range []struct {
		f     *Format
		t     Type
		level int
		want  uint64
	}{
		{NPT, TypeRAM, 1, 1<<52 | 0x1234<<12 | 0x67},
		{NPT, TypeRAM, 2, 1<<52 | 0x1234<<12 | 0xe7},
		{NPT, TypeRAMRO, 1, 2<<52 | 0x1234<<12 | 0x65},
		{NPT, TypeMMIO, 1, 1<<63 | 4<<52 | 0x1234<<12 | 0x7f},
		{NPT, TypeGrantRO, 1, 1<<63 | 7<<52 | 0x1234<<12 | 0x65},
		{NPT, TypePoD, 2, 9<<52 | 0x80},
		{EPT, TypeRAM, 1, 1<<52 | 0x1234<<12 | 0x37},
		{EPT, TypeRAM, 3, 1<<52 | 0x1234<<12 | 0xb7},
		{EPT, TypeLogDirty, 1, 3<<52 | 0x1234<<12 | 0x35},
		{EPT, TypeMMIO, 1, 4<<52 | 0x1234<<12 | 0x03},
		{EPT, TypeGrantRW, 1, 6<<52 | 0x1234<<12 | 0x33},
	} {
		if got := c.f.leafEntry(0x1234, c.t, c.level); uint64(got) != c.want {
			t.Errorf("%v %v level %d: %#x, want %#x", c.f, c.t, c.level, got, c.want)
		}
	}
	for _, f := range []*Format{NPT, EPT} {
		for typ := TypeNone + 1; typ < numTypes; typ++ {
			for level := 1; level <= 3; level++ {
				e := f.leafEntry(0x40000, typ, level)
				if e.isTable() || e.isNone() || e.typ() != typ || typ.hasFrame() && e.mfn() != 0x40000 {
					t.Errorf("%v %v: entry %#x", f, typ, e)
				}
				if want := typ != TypePoD && typ != TypeBroken; (e&present != 0) != want {
					t.Errorf("%v %v: present is %v", f, typ, !want)
				}
			}
		}
		if e := f.tableEntry(5); !e.isTable() || e.mfn() != 5 || e&7 != 7 {
			t.Errorf("%v: table %#x", f, e)
		}
	}
}

func newP2M(tb testing.TB, k *machine, f *Format, tables int) *P2M {
	tb.Helper()
	p, err := NewP2M(P2MConfig{Owner: 3, Format: f, Memory: k, Flusher: k, MaxTables: tables, MaxOrder: 18})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestP2MBadInput(t *testing.T) {
	k := newMachine(t, 0, 64)
	p := newP2M(t, k, NPT, 16)
	for _, c := range []struct {
		g    GFN
		m    MFN
		o    uint
		t    Type
		want error
	}{
		{maxGFN, 0, 0, TypeRAM, ErrBadRange}, {InvalidGFN, 0, 0, TypeRAM, ErrBadRange},
		{1, 0, 1, TypeRAM, ErrBadRange}, {0, 0, 19, TypeRAM, ErrBadRange}, {0, 0, 200, TypeRAM, ErrBadRange},
		{0, 1, 9, TypeRAM, ErrBadRange}, {0, maxMFN, 0, TypeRAM, ErrBadRange}, {0, InvalidMFN, 0, TypeMMIO, ErrBadRange},
		{0, maxMFN - 1, 1, TypeRAM, ErrBadRange},
		{0, 0, 0, TypeNone, ErrBadType}, {0, 0, 0, numTypes, ErrBadType}, {0, 0, 0, 255, ErrBadType},
	} {
		if _, err := p.Map(c.g, c.m, c.o, c.t); !errors.Is(err, c.want) {
			t.Errorf("Map(%#x, %#x, %d, %v): %v", c.g, c.m, c.o, c.t, err)
		}
	}
	if _, err := p.Unmap(maxGFN, 0); !errors.Is(err, ErrBadRange) {
		t.Error(err)
	}
	if _, err := p.ChangeType(5, 5, TypeRAM, TypeRAMRO); !errors.Is(err, ErrBadRange) {
		t.Error(err)
	}
	if _, err := p.ChangeType(5, 6, TypeRAM, TypeMMIO); !errors.Is(err, ErrBadType) {
		t.Error(err)
	}
	if e := p.Lookup(InvalidGFN); e.Type != TypeNone {
		t.Error(e)
	}
	if p.Tables() != 1 {
		t.Errorf("failures left %d tables", p.Tables())
	}
	p.Destroy()
	p.Destroy()
	if _, err := p.Map(0, 0, 0, TypeRAM); !errors.Is(err, ErrDestroy) {
		t.Error(err)
	}
	if e := p.Lookup(0); e.Type != TypeNone {
		t.Error(e)
	}
	k.allFree(t)
}

func TestP2MLargePages(t *testing.T) {
	for _, f := range []*Format{NPT, EPT} {
		k := newMachine(t, 0, 64)
		p := newP2M(t, k, f, 16)
		do := func(what string, flush, want bool, err error) {
			t.Helper()
			if err != nil || flush != want {
				t.Fatalf("%v: %s: flush %v, %v", f, what, flush, err)
			}
			p.Flush()
		}
		fl, err := p.Map(1<<18, 1<<18, 18, TypeRAM)
		do("new page", fl, false, err)
		if e := p.Lookup(1<<18 + 77777); e != (Entry{1<<18 + 77777, TypeRAM, 18}) || p.Tables() != 2 {
			t.Fatal(e, p.Tables())
		}
		fl, err = p.ChangeType(1<<18+5, 1<<18+6, TypeRAM, TypeRAMRO)
		do("split", fl, true, err)
		if p.Tables() != 4 || p.Lookup(1<<18+5) != (Entry{1<<18 + 5, TypeRAMRO, 0}) ||
			p.Lookup(1<<18+4) != (Entry{1<<18 + 4, TypeRAM, 0}) || p.Lookup(1<<18+600) != (Entry{1<<18 + 600, TypeRAM, 9}) {
			t.Fatal("not split as it should be")
		}
		fl, err = p.ChangeType(0, maxGFN, TypeRAMRO, TypeRAM)
		do("merge", fl, true, err)
		if e := p.Lookup(1 << 18); e.Order != 18 || p.Tables() != 2 {
			t.Fatal(e, p.Tables())
		}
		fl, err = p.Unmap(1<<18+512, 9)
		do("unmap part", fl, true, err)
		if e := p.Lookup(1<<18 + 513); e.Type != TypeNone || e.Order != 9 {
			t.Fatal(e)
		}
		fl, err = p.Unmap(1<<18, 18)
		do("unmap", fl, true, err)
		if p.Tables() != 1 || p.Lookup(1<<18).Order != 27 {
			t.Fatal("empty tables stay")
		}
		fl, err = p.Unmap(1<<18, 18)
		do("unmap nothing", fl, false, err)
		fl, err = p.Map(0, 0, 18, TypePoD)
		do("pod", fl, false, err)
		fl, err = p.Map(512, 0x8000, 9, TypeRAM)
		do("in pod", fl, false, err)
		p.Destroy()
		k.allFree(t)
	}
}

// TestP2MQuota runs out of tables at each point of an operation and checks that
// nothing changed.
func TestP2MQuota(t *testing.T) {
	for n := 2; n <= 3; n++ {
		k := newMachine(t, 0, 64)
		p := newP2M(t, k, NPT, n)
		if _, err := p.Map(0, 0, 18, TypeRAM); n == 2 && err != nil {
			t.Fatal(err)
		}
		tables := p.Tables()
		for what, op := range map[string]func() error{
			"map":    func() error { _, err := p.Map(7, 9, 0, TypeMMIO); return err },
			"unmap":  func() error { _, err := p.Unmap(7, 0); return err },
			"change": func() error { _, err := p.ChangeType(7, 8, TypeRAM, TypeRAMRO); return err },
		} {
			if err := op(); !errors.Is(err, ErrNoTables) {
				t.Errorf("%s with %d tables: %v", what, n, err)
			}
			p.Flush()
			if p.Tables() != tables || p.Lookup(7) != (Entry{7, TypeRAM, 18}) {
				t.Errorf("%s with %d tables changed something: %d, %v", what, n, p.Tables(), p.Lookup(7))
			}
		}
		p.Destroy()
		k.allFree(t)
	}
}

// p2mModel checks a P2M against a map of frames, with a TLB that never forgets
// by itself.
type p2mModel struct {
	tb  testing.TB
	k   *machine
	p   *P2M
	ref map[GFN]Entry // Order 0
	tlb map[GFN]Entry
}

const modelBase = GFN(1<<27 - 1024) // straddles an entry of the top table

func newP2MModel(tb testing.TB, f *Format) *p2mModel {
	m := &p2mModel{tb: tb, k: newMachine(tb, 0, 64), ref: map[GFN]Entry{}, tlb: map[GFN]Entry{}}
	m.p = newP2M(tb, m.k, f, 12)
	m.k.onFlush = func() { clear(m.tlb) }
	m.k.onFree = func(f MFN, _ uint) {
		if len(m.tlb) > 0 { // any walk may hold any table
			tb.Fatalf("table %#x freed without a flush", f)
		}
	}
	return m
}

func (m *p2mModel) step(op byte, a, b uint16) {
	g := modelBase + GFN(a%2048)
	order := []uint{0, 0, 0, 1, 3, 9, 9, 10}[b&7]
	typ := Type(b >> 3 & 15)
	g = g >> order << order
	start := MFN(g) // contiguous, so that pages merge
	if b>>7&3 == 0 {
		start ^= 1 << 9
	}
	var flush bool
	var err error
	switch op % 5 {
	case 0, 1:
		flush, err = m.p.Map(g, start, order, typ)
		if bad := typ == TypeNone || typ >= numTypes; bad != errors.Is(err, ErrBadType) {
			m.tb.Fatalf("Map as %v: %v", typ, err)
		}
		for i := range MFN(1 << order) {
			if err == nil {
				e := Entry{start + i, typ, 0}
				if typ == TypePoD {
					e.MFN = InvalidMFN
				}
				m.ref[g+GFN(i)] = e
			}
		}
	case 2:
		if flush, err = m.p.Unmap(g, order); err == nil {
			for i := range GFN(1 << order) {
				delete(m.ref, g+i)
			}
		}
	case 3:
		from, to := Type(b>>3&3), Type(b>>5&3)
		end := g + GFN(b>>4)
		flush, err = m.p.ChangeType(g, end, from, to)
		for i := g; err == nil && i < end; i++ {
			if e, ok := m.ref[i]; ok && e.Type == from {
				e.Type = to
				m.ref[i] = e
			}
		}
		if err != nil && !errors.Is(err, ErrBadType) && !errors.Is(err, ErrBadRange) {
			m.tb.Fatal(err)
		}
	case 4: // the guest uses memory
		for i := range GFN(64) {
			e := m.p.Lookup(g + i)
			if e.Type != TypeNone && e.Type != TypePoD && e.Type != TypeBroken {
				m.tlb[g+i] = e
			}
		}
		return
	}
	if !flush {
		m.stale()
	} else if a&1 == 0 {
		m.p.Flush()
		m.stale()
	}
}

// stale fails if the TLB has what isn't in the tables any more.
func (m *p2mModel) stale() {
	for g, e := range m.tlb {
		if now := m.ref[g]; now.MFN != e.MFN || now.Type != e.Type {
			m.tb.Fatalf("guest frame %#x: the TLB has %v, the table %v, and no flush is due", g, e, now)
		}
	}
}

func (m *p2mModel) check() {
	for g := modelBase - 5; g < modelBase+2048+5; g++ {
		e := m.p.Lookup(g)
		e.Order = 0
		want, ok := m.ref[g]
		if !ok {
			want = Entry{InvalidMFN, TypeNone, 0}
		}
		if e != want {
			m.tb.Fatalf("guest frame %#x: %v, want %v", g, e, want)
		}
	}
	n := 0
	for g, e := range m.p.All(modelBase, modelBase+2048) {
		for i := g; i < min((g>>e.Order+1)<<e.Order, modelBase+2048); i++ {
			n++
		}
	}
	if n != len(m.ref) {
		m.tb.Fatalf("All has %d frames, want %d", n, len(m.ref))
	}
}

func (m *p2mModel) end() {
	m.check()
	m.p.Destroy()
	m.k.allFree(m.tb)
}

func TestP2MModel(t *testing.T) {
	for _, f := range []*Format{NPT, EPT} {
		for seed := range uint64(10) {
			t.Run(fmt.Sprint(f, seed), func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 2))
				m := newP2MModel(t, f)
				for i := range 3000 {
					m.step(byte(r.Uint32()), uint16(r.Uint32()), uint16(r.Uint32()))
					if i%100 == 0 {
						m.check()
					}
				}
				m.end()
			})
		}
	}
}

func FuzzP2M(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0x0d, 0, 4, 0, 0, 0, 0, 3, 5, 0, 0x48, 0})
	f.Add([]byte{0, 0, 2, 0x4d, 0, 0, 7, 2, 8, 0, 2, 0, 2, 5, 0, 4, 0, 2, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newP2MModel(t, EPT)
		for ; len(b) >= 5; b = b[5:] {
			m.step(b[0], uint16(b[1])|uint16(b[2])<<8, uint16(b[3])|uint16(b[4])<<8)
		}
		m.end()
	})
}

// TestP2MRetireMany frees more tables at once than P2M collects for a flush.
func TestP2MRetireMany(t *testing.T) {
	k := newMachine(t, 0, 256)
	p := newP2M(t, k, NPT, 250)
	for g := GFN(0); g < 200*512; g += 512 {
		if _, err := p.Map(g, 7, 0, TypeMMIO); err != nil {
			t.Fatal(err)
		}
	}
	flushed := 0
	k.onFlush = func() { flushed++ }
	freed := 0
	k.onFree = func(MFN, uint) {
		if freed++; freed > 64*flushed {
			t.Fatalf("%d tables freed after %d flushes", freed, flushed)
		}
	}
	if fl, err := p.Unmap(0, 18); !fl || err != nil {
		t.Fatal(fl, err)
	}
	p.Flush()
	if freed != 202 || p.Tables() != 1 {
		t.Errorf("%d tables freed, %d left", freed, p.Tables())
	}
	p.Destroy()
	k.allFree(t)
}

// TestP2MLookupRace looks up while tables come and go: what is found was there
// at some time.
func TestP2MLookupRace(t *testing.T) {
	k := newMachine(t, 0, 64)
	p := newP2M(t, k, NPT, 16)
	if _, err := p.Map(0, 0, 18, TypeRAM); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		r := rand.New(rand.NewPCG(1, 1))
		for {
			select {
			case <-stop:
				return
			default:
			}
			g := GFN(r.IntN(1 << 18))
			if e := p.Lookup(g); e.MFN != MFN(g) || e.Type != TypeRAM && e.Type != TypeRAMRO {
				t.Errorf("guest frame %#x: %v", g, e)
				return
			}
		}
	})
	for i := range GFN(5000) {
		g := i * 512 % (1 << 18)
		for _, to := range []Type{TypeRAMRO, TypeRAM} {
			if _, err := p.ChangeType(g, g+1, TypeRAM^TypeRAMRO^to, to); err != nil {
				t.Fatal(err)
			}
			p.Flush()
		}
	}
	close(stop)
	wg.Wait()
	p.Destroy()
	k.allFree(t)
}

func BenchmarkLookup(b *testing.B) {
	k := newMachine(b, 0, 64)
	p := newP2M(b, k, NPT, 16)
	p.Map(0, 0, 9, TypeRAM)
	p.ChangeType(0, 1, TypeRAM, TypeRAMRO)
	b.ReportAllocs()
	for b.Loop() {
		p.Lookup(5)
	}
}

func BenchmarkMapUnmap2M(b *testing.B) {
	k := newMachine(b, 0, 64)
	p := newP2M(b, k, NPT, 16)
	p.Map(1024, 1024, 9, TypeRAM)
	b.ReportAllocs()
	for b.Loop() {
		p.Map(512, 512, 9, TypeRAM)
		p.Unmap(512, 9)
		p.Flush()
	}
}
