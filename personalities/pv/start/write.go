package start

import (
	"encoding/binary"
	"fmt"

	"nidus/kernel/xenabi"
	"nidus/mm"
)

// Memory is the domain's memory. All of it is there, and zero, when Write begins.
type Memory interface {
	// Frame returns the machine frame behind a pseudo-physical one, which is less than
	// the domain's number of pages.
	Frame(pfn PFN) mm.MFN
	// WritePhys writes at a machine address, within a page.
	WritePhys(a mm.GuestPhys, b []byte) error
}

// Live is what is known only once the domain is there.
type Live struct {
	// SharedInfo is its frame.
	SharedInfo mm.MFN
	// StorePort and ConsolePort are the guest's event channels.
	StorePort, ConsolePort uint32
}

// Write puts everything into the domain's memory. An error leaves part of it written.
func (p *Plan) Write(m Memory, l Live) error {
	if root := m.Frame(p.Tables.First); p.LowRoot && root >= lowFrames {
		return fmt.Errorf("%w: the root of kernel %s's page tables would be at %#x, and it can only use one below 4 GiB",
			ErrMemory, p.kernel.Name, uint64(root)<<mm.PageShift)
	}
	w := writer{m}
	for i := range p.kernel.Segments {
		s := &p.kernel.Segments[i]
		if err := w.write(p.guest.phys(s), s.Data); err != nil {
			return fmt.Errorf("kernel %s: write segment %d: %w", p.kernel.Name, i, err)
		}
	}
	if sym := p.kernel.Symbols; sym != nil {
		at := p.kernel.SymbolsAt() - mm.GuestPhys(p.guest.offset)
		for _, b := range sym.Pieces() {
			if err := w.write(at, b); err != nil {
				return fmt.Errorf("kernel %s: write symbols: %w", p.kernel.Name, err)
			}
			at += mm.GuestPhys(len(b))
		}
	}
	if p.guest.hasHypercalls {
		if err := w.page(p.guest.hypercalls, HypercallPage(p.Width())); err != nil {
			return fmt.Errorf("the hypercall page: %w", err)
		}
	}
	for _, x := range p.modules.pieces {
		if err := w.write(addr(p.Ramdisk.First)+mm.GuestPhys(x.off), x.data); err != nil {
			return fmt.Errorf("the ramdisk: %w", err)
		}
	}
	if err := p.writeP2M(w); err != nil {
		return fmt.Errorf("the list of frames: %w", err)
	}
	var info [mm.PageSize]byte
	s := p.startInfo(m, l)
	xenabi.Encode(p.Width(), info[:], &s)
	if err := w.page(p.StartInfo, &info); err != nil {
		return fmt.Errorf("start_info: %w", err)
	}
	var b [mm.PageSize]byte
	for _, t := range p.tree.tables {
		p.fill(t, m.Frame, &b)
		if err := w.page(t.pfn, &b); err != nil {
			return fmt.Errorf("page tables: %w", err)
		}
	}
	return nil
}

// startInfo makes what the guest finds at StartInfo.
func (p *Plan) startInfo(m Memory, l Live) xenabi.StartInfo {
	s := xenabi.StartInfo{
		NrPages: p.Pages, SharedInfo: uint64(l.SharedInfo) << mm.PageShift,
		// Nobody here reads the list through the tree that guests can make of it.
		Flags:    xenabi.SIFVirtP2M | p.modules.flags,
		StoreMFN: uint64(m.Frame(p.Store)), StoreEvtchn: l.StorePort,
		ConsoleMFN: uint64(m.Frame(p.Console)), ConsoleEvtchn: l.ConsolePort,
		PTBase: uint64(p.Virt(p.Tables.First)), NrPTFrames: p.Tables.Pages,
		MFNList:     uint64(p.p2mAddr),
		FirstP2MPFN: uint64(p.P2M.First), NrP2MFrames: p.P2M.Pages,
	}
	magic := xenabi.StartMagic64
	if p.Bits == 32 {
		magic = xenabi.StartMagic32
	}
	copy(s.Magic[:], magic)
	copy(s.Cmdline[:], p.cmdline)
	if p.P2MTables.Pages > 0 {
		s.FirstP2MPFN, s.NrP2MFrames = uint64(p.P2MTables.First), p.P2MTables.Pages+p.P2M.Pages
	}
	if s.ModLen = p.modules.size; s.ModLen > 0 {
		s.ModStart = uint64(p.Virt(p.Ramdisk.First))
		if p.modsByPFN {
			s.ModStart = uint64(p.Ramdisk.First)
			s.Flags |= xenabi.SIFModStartPFN
		}
	}
	return s
}

// writeP2M writes the list of frames, a word for each.
func (p *Plan) writeP2M(w writer) error {
	word := uint64(p.Width())
	var b [mm.PageSize]byte
	n := PFN(0)
	for page := range p.P2M.Pages {
		clear(b[:])
		for off := uint64(0); off < mm.PageSize && uint64(n) < p.Pages; off += word {
			if word == 8 {
				binary.LittleEndian.PutUint64(b[off:], uint64(w.Frame(n)))
			} else {
				binary.LittleEndian.PutUint32(b[off:], uint32(w.Frame(n)))
			}
			n++
		}
		if err := w.page(p.P2M.First+PFN(page), &b); err != nil {
			return err
		}
	}
	return nil
}

// writer writes by pseudo-physical address.
type writer struct{ Memory }

func addr(pfn PFN) mm.GuestPhys { return mm.GuestPhys(pfn << mm.PageShift) }

func (w writer) page(pfn PFN, b *[mm.PageSize]byte) error { return w.write(addr(pfn), b[:]) }

func (w writer) write(a mm.GuestPhys, b []byte) error {
	for len(b) > 0 {
		n := min(uint64(len(b)), mm.PageSize-a.Offset())
		at := mm.GFN(w.Frame(PFN(a>>mm.PageShift))).Addr() + mm.GuestPhys(a.Offset())
		if err := w.WritePhys(at, b[:n]); err != nil {
			return err
		}
		a, b = a+mm.GuestPhys(n), b[n:]
	}
	return nil
}
