package start

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"testing"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// machine is a domain's memory: frames in no order, as a host has them.
type machine struct {
	frames []mm.MFN
	pfn    map[mm.MFN]PFN
	pages  map[mm.MFN]*[mm.PageSize]byte
	fail   mm.MFN // a frame that can't be written
}

func newMachine(pages uint64) *machine {
	m := &machine{pfn: make(map[mm.MFN]PFN), pages: make(map[mm.MFN]*[mm.PageSize]byte)}
	for i, n := range rand.New(rand.NewSource(5)).Perm(int(pages)) {
		m.frames = append(m.frames, mm.MFN(0x4_0000+3*n))
		m.pfn[m.frames[i]] = PFN(i)
	}
	return m
}

// swap exchanges two frames.
func (m *machine) swap(a, b PFN) {
	m.frames[a], m.frames[b] = m.frames[b], m.frames[a]
	m.pfn[m.frames[a]], m.pfn[m.frames[b]] = a, b
}

func (m *machine) Frame(pfn PFN) mm.MFN { return m.frames[pfn] }

func (m *machine) WritePhys(a mm.GuestPhys, b []byte) error {
	f := mm.MFN(a >> mm.PageShift)
	if _, ok := m.pfn[f]; !ok || f == m.fail || a.Offset()+uint64(len(b)) > mm.PageSize {
		return fmt.Errorf("write %d bytes at %#x", len(b), a)
	}
	copy(m.page(f)[a.Offset():], b)
	return nil
}

func (m *machine) page(f mm.MFN) *[mm.PageSize]byte {
	p := m.pages[f]
	if p == nil {
		p = new([mm.PageSize]byte)
		m.pages[f] = p
	}
	return p
}

// guestView reads as the guest does: by its page tables.
type guestView struct {
	t    *testing.T
	m    *machine
	p    *Plan
	root mm.MFN
}

// walk returns the frame at a virtual address and whether it can be written, as the
// processor finds it in its tables, or as Xen does for a PAE root.
func (g guestView) walk(va uint64) (f mm.MFN, write, ok bool) {
	level, table := 4, g.root
	if g.p.Bits == 32 {
		level = 3
	}
	write = true
	for ; ; level-- {
		e := binary.LittleEndian.Uint64(g.m.page(table)[va>>(3+9*level)&0x1ff*8:])
		if e&1 == 0 {
			return 0, false, false
		}
		f = mm.MFN(e >> 12)
		if _, own := g.m.pfn[f]; !own {
			g.t.Fatalf("at %#x, level %d: entry %#x leads outside the domain", va, level, e)
		}
		if g.p.Bits == 64 && e&4 == 0 {
			g.t.Fatalf("at %#x, level %d: entry %#x is not for ring 3", va, level, e)
		}
		if pae := g.p.Bits == 32 && level == 3; pae && e&0x1e6 != 0 {
			g.t.Fatalf("entry %#x of a PAE root has reserved bits", e)
		} else if !pae {
			write = write && e&2 != 0
		}
		if level == 1 {
			return f, write, true
		}
		table = f
	}
}

// read returns guest memory by virtual address.
func (g guestView) read(va, n uint64) []byte {
	g.t.Helper()
	var out []byte
	for n > 0 {
		f, _, ok := g.walk(va)
		if !ok {
			g.t.Fatalf("nothing is mapped at %#x", va)
		}
		off := va & mm.PageMask
		k := min(n, mm.PageSize-off)
		out = append(out, g.m.page(f)[off:off+k]...)
		va, n = va+k, n-k
	}
	return out
}

// reached counts the tables and pages that the tables lead to.
func (g guestView) reached(level int, f mm.MFN) (tables, pages uint64) {
	if level == 0 {
		return 0, 1
	}
	tables = 1
	for i := range 512 {
		if e := binary.LittleEndian.Uint64(g.m.page(f)[8*i:]); e&1 != 0 {
			t, p := g.reached(level-1, mm.MFN(e>>12))
			tables, pages = tables+t, pages+p
		}
	}
	return tables, pages
}

var testLive = Live{SharedInfo: 0x77, StorePort: 5, ConsolePort: 6}

// start writes a plan and looks at everything that the ABI promises.
func start(t *testing.T, c Params) (guestView, xenabi.StartInfo) {
	t.Helper()
	p, err := Layout(c)
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(c.Pages)
	if err := p.Write(m, testLive); err != nil {
		t.Fatal(err)
	}
	g := guestView{t, m, p, m.Frame(p.Tables.First)}
	g.mapped()
	r := p.Registers()
	var s xenabi.StartInfo
	if !xenabi.Decode(p.Width(), g.read(r.RSI, mm.PageSize), &s) {
		t.Fatal("start_info")
	}
	g.startInfo(&s, &c)
	g.list(&s)
	g.kernel(&c)
	if f, write, ok := g.walk(r.RSP - 8); !ok || !write || r.RSP%mm.PageSize != 0 || m.pfn[f] != p.Stack {
		t.Errorf("no stack at %#x", r.RSP)
	}
	if r.RIP != uint64(p.Entry) || r.RFLAGS != 0x202 {
		t.Errorf("registers %+v", r)
	}
	return g, s
}

// mapped checks that the first frames are mapped one to one and nothing else is, and that
// no page table can be written.
func (g guestView) mapped() {
	g.t.Helper()
	p := g.p
	n := uint64(p.VirtEnd-p.VirtBase) >> mm.PageShift
	for pfn := range PFN(n) {
		f, write, ok := g.walk(uint64(p.VirtBase) + uint64(pfn)<<12)
		if !ok || g.m.pfn[f] != pfn || write == p.Tables.has(pfn) {
			g.t.Fatalf("PFN %#x is mapped to %#x, %v, writable %v", pfn, g.m.pfn[f], ok, write)
		}
	}
	if p.P2MTables.Pages > 0 {
		n += p.P2M.Pages
	}
	if p.Bits == 32 && g.m.page(g.root)[3*8]&1 == 0 {
		g.t.Error("no last page directory, for the hypervisor's part")
	}
	tables, pages := g.reached(p.guest.levels, g.root)
	if want := p.Tables.Pages + p.P2MTables.Pages; pages != n || tables != want {
		g.t.Errorf("%d tables map %d pages, want %d and %d", tables, pages, want, n)
	}
	order := []PFN{p.StartInfo, p.Store, p.Console, p.Tables.First, p.Stack, PFN(uint64(p.VirtEnd-p.VirtBase) >> 12)}
	for i := 1; i < 4; i++ {
		if order[i] != order[i-1]+1 {
			g.t.Errorf("elements at %#x", order)
		}
	}
	spare := uint64(p.VirtEnd) - uint64(p.Virt(p.Stack+1))
	if p.Stack != p.Tables.end() || p.VirtEnd%(4<<20) != 0 || spare < 512<<10 || spare >= 512<<10+4<<20 {
		g.t.Errorf("elements at %#x, %d KiB behind the stack, end %#x", order, spare>>10, p.VirtEnd)
	}
}

func (g guestView) startInfo(s *xenabi.StartInfo, c *Params) {
	g.t.Helper()
	magic := map[int]string{64: "xen-3.0-x86_64", 32: "xen-3.0-x86_32p"}[g.p.Bits]
	if got := string(bytes.TrimRight(s.Magic[:], "\x00")); got != magic {
		g.t.Errorf("magic %q", got)
	}
	if got := string(bytes.TrimRight(s.Cmdline[:], "\x00")); got != c.Cmdline {
		g.t.Errorf("command line %q", got)
	}
	want := *s
	want.NrPages, want.SharedInfo = c.Pages, 0x77000
	want.StoreMFN, want.StoreEvtchn = uint64(g.m.Frame(g.p.Store)), 5
	want.ConsoleMFN, want.ConsoleEvtchn = uint64(g.m.Frame(g.p.Console)), 6
	want.PTBase, want.NrPTFrames = uint64(g.p.VirtBase)+uint64(g.p.Tables.First)<<12, g.p.Tables.Pages
	if *s != want {
		g.t.Errorf("start_info\n%+v, want\n%+v", *s, want)
	}
	if f, _, _ := g.walk(s.PTBase); f != g.root {
		g.t.Error("pt_base is not the root")
	}
}

// list checks the list of frames, by its virtual address and by its frames.
func (g guestView) list(s *xenabi.StartInfo) {
	g.t.Helper()
	word := g.p.Bits / 8
	b := g.read(s.MFNList, s.NrPages*uint64(word))
	for i, f := range g.m.frames {
		got := uint64(binary.LittleEndian.Uint32(b[i*word:]))
		if word == 8 {
			got = binary.LittleEndian.Uint64(b[i*word:])
		}
		if got != uint64(f) {
			g.t.Fatalf("p2m[%#x] = %#x, want %#x", i, got, f)
		}
	}
	f, write, _ := g.walk(s.MFNList)
	if pfn := uint64(g.m.pfn[f]); pfn < s.FirstP2MPFN || pfn >= s.FirstP2MPFN+s.NrP2MFrames || !write {
		g.t.Errorf("the list is at PFN %#x, start_info has %#x and %d", pfn, s.FirstP2MPFN, s.NrP2MFrames)
	}
	if got, want := s.NrP2MFrames, g.p.P2M.Pages+g.p.P2MTables.Pages; got != want {
		g.t.Errorf("nr_p2m_frames %d, want %d", got, want)
	}
}

// kernel checks that each segment is at its virtual address.
func (g guestView) kernel(c *Params) {
	g.t.Helper()
	n := &c.Kernel.Notes
	call := n.HypercallPage
	for i := range c.Kernel.Segments {
		s := &c.Kernel.Segments[i]
		at := uint64(n.VirtBase) + uint64(s.PhysAddr) - n.PaddrOffset
		got, want := g.read(at, s.MemSize), append(bytes.Clone(s.Data), make([]byte, s.MemSize-uint64(len(s.Data)))...)
		if off := uint64(call) - at; g.p.guest.hasHypercalls && off < s.MemSize {
			page := HypercallPage(g.p.Width())
			copy(want[off:], page[:])
		}
		if sym := c.Kernel.Symbols; sym != nil && i == len(c.Kernel.Segments)-1 {
			for (at+uint64(len(want)))%uint64(g.p.Bits/8) != 0 {
				want = append(want, 0)
			}
			p := sym.Pieces()
			want = append(want, bytes.Join(p[:], nil)...)
			got = g.read(at, uint64(len(want)))
		}
		if !bytes.Equal(got, want) {
			g.t.Errorf("segment %d differs at %#x", i, at)
		}
	}
}

// ramdisk reads the modules as the guest finds them.
func (g guestView) ramdisk(s *xenabi.StartInfo) []byte {
	if s.Flags&xenabi.SIFModStartPFN == 0 {
		return g.read(s.ModStart, s.ModLen)
	}
	var b []byte
	for pfn := range PFN(pages(s.ModLen)) {
		b = append(b, g.m.page(g.m.Frame(PFN(s.ModStart) + pfn))[:]...)
	}
	return b[:s.ModLen]
}
