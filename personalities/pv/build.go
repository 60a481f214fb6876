package pv

import (
	"context"
	"encoding/binary"
	"fmt"

	"nidus/kernel/domain"
	"nidus/kernel/hypercall"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/mm/pvmmu"
	"nidus/personalities/create"
	"nidus/personalities/pv/start"
)

// Build makes a domain that only needs Start. If it fails nothing is left.
func Build(ctx context.Context, h *domain.Host, c create.Config) (*domain.Domain, error) {
	plan, err := start.Layout(start.Params{
		Kernel: c.Kernel, Pages: c.Memory >> mm.PageShift, Cmdline: c.Cmdline, Modules: c.Modules,
	})
	if err != nil {
		return nil, err
	}
	c.Params.PV = plan.Width()
	c.Params.Constant = hypercall.Constant
	c.Params.MaxPages = c.MaxMemory >> mm.PageShift
	return c.Domain(h, func(d *domain.Domain) error { return fill(ctx, d, &c, plan) })
}

// memory is the domain's memory as package start writes it.
type memory struct {
	*mm.Space
	frames []uint32 // by pseudo-physical frame; machine frames are below 1<<32 (mm.Frames)
}

// Frame implements start.Memory.
func (m *memory) Frame(pfn start.PFN) mm.MFN { return mm.MFN(m.frames[pfn]) }

// fill gives the domain its memory and puts everything into it.
func fill(ctx context.Context, d *domain.Domain, c *create.Config, plan *start.Plan) error {
	m := &memory{Space: d.Space}
	if err := m.populate(ctx, d, c); err != nil {
		return err
	}
	if err := plan.Arrange(m.Frame, func(a, b start.PFN) {
		m.frames[a], m.frames[b] = m.frames[b], m.frames[a]
		d.PV.M2P.Set(m.Frame(a), uint64(a))
		d.PV.M2P.Set(m.Frame(b), uint64(b))
	}); err != nil {
		return err
	}
	var e [20]byte
	binary.LittleEndian.PutUint64(e[8:], c.MaxMemory)
	binary.LittleEndian.PutUint32(e[16:], 1) // E820_RAM
	d.MemoryMap = [][20]byte{e}
	d.MaxGFN = mm.GFN(c.MaxMemory >> mm.PageShift)
	rings, err := c.Connect(d, mm.GFN(m.Frame(plan.Console)), mm.GFN(m.Frame(plan.Store)))
	if err != nil {
		return err
	}
	if err := plan.Write(m, start.Live{SharedInfo: d.SharedInfo(), StorePort: rings.StorePort, ConsolePort: rings.ConsolePort}); err != nil {
		return err
	}
	if err := c.Publish(ctx, d, rings); err != nil {
		return err
	}
	return boot(d, plan, m.Frame(plan.Tables.First))
}

// populate makes all the memory, in blocks of 2 MiB where there are such.
func (m *memory) populate(ctx context.Context, d *domain.Domain, c *create.Config) error {
	const large = 9
	n := c.Memory >> mm.PageShift
	m.frames = make([]uint32, 0, n)
	order := uint(large)
	for done := uint64(0); done < n; done = uint64(len(m.frames)) {
		if n-done < 1<<order {
			order = 0
		}
		f, err := d.Space.AllocDirect(order, mm.ZoneAny)
		if err != nil && order > 0 {
			order = 0 // no block is left
			continue
		}
		if err != nil {
			return fmt.Errorf("%d MiB of memory: %w", c.Memory>>20, err)
		}
		for i := range mm.MFN(1) << order {
			d.PV.M2P.Set(f+i, uint64(len(m.frames)))
			m.frames = append(m.frames, uint32(f+i))
		}
		if len(m.frames)%(1<<large) == 0 {
			if err := c.Populated(ctx, uint64(len(m.frames))<<mm.PageShift); err != nil {
				return err
			}
		}
	}
	return nil
}

// boot checks the page tables and sets the first vcpu's state.
func boot(d *domain.Domain, plan *start.Plan, root mm.MFN) error {
	v := d.VCPUs[0]
	if err := finish(d, func() error { return v.MMU.Pin(root, plan.Levels()) }); err != nil {
		return fmt.Errorf("the first page tables: %w", err)
	}
	if err := finish(d, func() error { return v.MMU.SetRoot(true, root) }); err != nil {
		return fmt.Errorf("the first page tables: %w", err)
	}
	for _, v := range d.VCPUs {
		if pg, off, ok := d.Events.VCPUInfo(v.ID); ok {
			pg.Store8(off+xenabi.VCPUEvtchnUpcallMask, 1)
		}
	}
	b := plan.Registers()
	r := v.HV.Regs()
	r.RIP, r.RSP, r.RSI, r.RFLAGS = b.RIP, b.RSP, b.RSI, b.RFLAGS
	v.HV.SetSegment(virt.CS, virt.Segment{Selector: b.CS})
	v.HV.SetSegment(virt.SS, virt.Segment{Selector: b.SS})
	for _, s := range [...]virt.SegReg{virt.DS, virt.ES, virt.FS, virt.GS} {
		v.HV.SetSegment(s, virt.Segment{Selector: b.DS})
	}
	v.PV.KernelSS, v.PV.KernelSP = b.SS, b.RSP
	v.SetUp(true)
	return nil
}

// finish repeats an operation on page tables until it is done.
func finish(d *domain.Domain, op func() error) error {
	for {
		err := op()
		if err == nil {
			err = d.PV.MMU.Pending()
		}
		if err != pvmmu.ErrAgain {
			return err
		}
	}
}
