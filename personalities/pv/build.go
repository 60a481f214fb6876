package pv

import (
	"context"
	"encoding/binary"
	"fmt"

	"nidus/kernel/domain"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/kernel/xenstore"
	"nidus/mm"
	"nidus/mm/pvmmu"
	"nidus/personalities/image"
	"nidus/personalities/pv/start"
)

// Config is what a PV domain is made of, besides domain.Params.
type Config struct {
	domain.Params
	Name        string
	Memory      uint64 // bytes at the start
	MaxMemory   uint64 // bytes that it can have
	OnlineVCPUs int
	Kernel      *image.Kernel
	Cmdline     string
	Modules     []image.Module // the first is the ramdisk
	// Progress hears how much of the memory is there, in bytes; may be nil. Its error ends
	// Build.
	Progress func(done, all uint64) error
	// Published is called when others are about to see the domain's number; may be nil.
	Published func()
}

// Build makes a domain that only needs Start. If it fails nothing is left.
func Build(ctx context.Context, h *domain.Host, c Config) (*domain.Domain, error) {
	plan, err := start.Layout(start.Params{
		Kernel: c.Kernel, Pages: c.Memory >> mm.PageShift, Cmdline: c.Cmdline, Modules: c.Modules,
	})
	if err != nil {
		return nil, err
	}
	c.Params.PV = plan.Width()
	c.Params.MaxPages = c.MaxMemory >> mm.PageShift
	d, err := domain.New(h, c.Params)
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, d, &c, plan); err != nil {
		if e := d.Destroy(); e != nil {
			return nil, fmt.Errorf("%w (and then: %v)", err, e)
		}
		return nil, err
	}
	return d, nil
}

// memory is the domain's memory as package start writes it.
type memory struct {
	*mm.Space
	frames []uint32 // by pseudo-physical frame; machine frames are below 1<<32 (mm.Frames)
}

// Frame implements start.Memory.
func (m *memory) Frame(pfn start.PFN) mm.MFN { return mm.MFN(m.frames[pfn]) }

// fill gives the domain its memory and puts everything into it.
func fill(ctx context.Context, d *domain.Domain, c *Config, plan *start.Plan) error {
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
	if c.Published != nil {
		c.Published()
	}
	consoleMFN, storeMFN := m.Frame(plan.Console), m.Frame(plan.Store)
	consolePort, storePort, err := d.Connect(mm.GFN(consoleMFN), mm.GFN(storeMFN))
	if err != nil {
		return err
	}
	if err := plan.Write(m, start.Live{SharedInfo: d.SharedInfo(), StorePort: storePort, ConsolePort: consolePort}); err != nil {
		return err
	}
	nodes := xenstore.DomainPaths{
		Dom: d.ID, Name: c.Name, UUID: d.UUIDString(), TargetKiB: c.Memory >> 10, StaticMaxKiB: c.MaxMemory >> 10,
		VCPUs: c.OnlineVCPUs, MaxVCPUs: c.VCPUs, ConsolePort: consolePort, ConsoleRef: uint64(consoleMFN),
		StorePort: storePort, StoreRef: uint64(storeMFN),
	}
	conn := d.Host.Store.Open(0)
	defer conn.Close()
	if err := nodes.Write(ctx, conn); err != nil {
		return err
	}
	return boot(d, plan, m.Frame(plan.Tables.First))
}

// populate makes all the memory, in blocks of 2 MiB where there are such.
func (m *memory) populate(ctx context.Context, d *domain.Domain, c *Config) error {
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
			if err := ctx.Err(); err != nil {
				return err
			}
			if c.Progress != nil {
				if err := c.Progress(uint64(len(m.frames))<<mm.PageShift, c.Memory); err != nil {
					return err
				}
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
