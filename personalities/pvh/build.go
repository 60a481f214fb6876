package pvh

import (
	"context"
	"encoding/binary"
	"fmt"

	"nidus/kernel/domain"
	"nidus/kernel/hypercall"
	"nidus/kernel/virt"
	"nidus/kernel/xenabi"
	"nidus/mm"
	"nidus/personalities/acpi"
	"nidus/personalities/create"
	"nidus/personalities/image"
	"nidus/personalities/pvh/startinfo"
)

// Build makes a domain that only needs Start. If it fails nothing is left.
func Build(ctx context.Context, h *domain.Host, c create.Config) (*domain.Domain, error) {
	if err := c.Kernel.CheckPVH(); err != nil {
		return nil, err
	}
	if c.Memory < startinfo.MinMemory || c.Memory > c.MaxMemory || c.Memory%mm.PageSize != 0 {
		return nil, fmt.Errorf("%w: %d KiB of memory at the start and %d KiB at most; memory= needs at least %d MiB, in whole pages, and maxmem= not less",
			startinfo.ErrMemory, c.Memory>>10, c.MaxMemory>>10, startinfo.MinMemory>>20)
	}
	plan, err := layout(&c)
	if err != nil {
		return nil, err
	}
	// the special pages come on top of the memory
	c.Params.MaxPages = c.MaxMemory>>mm.PageShift + plan.Special.Pages.Size>>mm.PageShift
	c.Params.Constant = hypercall.Constant
	return c.Domain(h, func(d *domain.Domain) error { return fill(ctx, d, &c, plan) })
}

func layout(c *create.Config) (*startinfo.Plan, error) {
	lo, hi := c.Kernel.Span()
	p := startinfo.Params{Memory: c.MaxMemory, KernelStart: lo, KernelEnd: hi, Cmdline: c.Cmdline}
	for _, m := range c.Modules {
		p.Modules = append(p.Modules, startinfo.Module{Name: m.Name, Size: uint64(len(m.Data)), Cmdline: m.Cmdline})
	}
	for i := range c.VCPUs {
		p.CPUs = append(p.CPUs, acpi.CPU{UID: uint32(i), APICID: c.Policy.APICID(uint32(i)), Enabled: true})
	}
	plan, err := startinfo.Layout(p)
	if err != nil {
		return nil, err
	}
	// What Build writes has to lie in memory that is there at the start.
	end := uint64(hi)
	for _, m := range plan.Modules {
		end = max(end, uint64(m.Addr)+m.Size)
	}
	if end > c.Memory {
		return nil, fmt.Errorf("%w: kernel and ramdisk end at %d MiB, and %d MiB are there at the start; raise memory=",
			startinfo.ErrMemory, (end+1<<20-1)>>20, c.Memory>>20)
	}
	return plan, nil
}

// fill gives the domain its memory and puts everything into it.
func fill(ctx context.Context, d *domain.Domain, c *create.Config, plan *startinfo.Plan) error {
	if err := populate(ctx, d, c, plan); err != nil {
		return err
	}
	if err := c.Kernel.Load(d.Space, image.LoadOptions{Bottom: plan.Kernel.Start, Top: plan.Kernel.End(), Zeroed: true}); err != nil {
		return err
	}
	if err := plan.Write(d.Space); err != nil {
		return err
	}
	ident := startinfo.IdentityDirectory()
	if err := d.Space.WritePhys(plan.Special.IdentPT.Addr(), ident[:]); err != nil {
		return err
	}
	for i, m := range plan.Modules {
		if err := d.Space.WritePhys(m.Addr, c.Modules[i].Data); err != nil {
			return fmt.Errorf("ramdisk %s: %w", m.Name, err)
		}
	}
	for _, e := range plan.MemoryMap {
		var b [20]byte
		binary.LittleEndian.PutUint64(b[0:], uint64(e.Start))
		binary.LittleEndian.PutUint64(b[8:], e.Size)
		binary.LittleEndian.PutUint32(b[16:], uint32(e.Type))
		d.MemoryMap = append(d.MemoryMap, b)
	}
	for _, r := range plan.RAM {
		d.MaxGFN = max(d.MaxGFN, r.End().Frame())
	}
	rings, err := c.Connect(d, plan.Special.Console, plan.Special.Xenstore)
	if err != nil {
		return err
	}
	for i, v := range map[uint32]uint64{
		xenabi.HVMParamConsolePFN: uint64(rings.Console), xenabi.HVMParamConsoleEvtchn: uint64(rings.ConsolePort),
		xenabi.HVMParamStorePFN: uint64(rings.Store), xenabi.HVMParamStoreEvtchn: uint64(rings.StorePort),
		xenabi.HVMParamIdentPT: uint64(plan.Special.IdentPT.Addr()), xenabi.HVMParamPAEEnabled: 1,
		xenabi.HVMParamTripleFaultReason: xenabi.ShutdownReboot,
	} {
		d.SetParam(i, v)
	}
	if err := c.Publish(ctx, d, rings); err != nil {
		return err
	}
	return boot(d, c.Kernel, plan)
}

// populate makes the memory: all of it, or what is there at the start.
func populate(ctx context.Context, d *domain.Domain, c *create.Config, plan *startinfo.Plan) error {
	done := uint64(0)
	special := plan.Special.Pages
	if err := d.Space.Populate(special.Start.Frame(), special.Size>>mm.PageShift, nil); err != nil {
		return err
	}
	d.Space.LimitDemand((c.Memory + special.Size) >> mm.PageShift)
	left := c.Memory
	for _, r := range plan.RAM {
		n := min(r.Size, left)
		left -= n
		if n > 0 {
			base := done
			err := d.Space.Populate(r.Start.Frame(), n>>mm.PageShift, func(pages uint64) error {
				return c.Populated(ctx, base+pages<<mm.PageShift)
			})
			if err != nil {
				return fmt.Errorf("%d MiB of memory: %w", c.Memory>>20, err)
			}
			done += n
		}
		if n < r.Size {
			if err := d.Space.MapPoD((r.Start + mm.GuestPhys(n)).Frame(), (r.Size-n)>>mm.PageShift); err != nil {
				return err
			}
		}
	}
	return nil
}

// boot sets the first vcpu's state.
func boot(d *domain.Domain, k *image.Kernel, plan *startinfo.Plan) error {
	entry, _ := k.PVHEntry()
	b := plan.BootState(entry)
	v := d.VCPUs[0]
	var s virt.State
	v.HV.Save(&s)
	offset, ratio := s.TSCOffset, s.TSCRatio
	s.Reset()
	s.TSCOffset, s.TSCRatio = offset, ratio
	seg := func(r virt.SegReg, x startinfo.Segment) {
		s.Seg[r] = virt.Segment{Base: x.Base, Limit: x.Limit, Selector: x.Selector, Attr: x.Attributes}
	}
	seg(virt.CS, b.CS)
	seg(virt.DS, b.DS)
	seg(virt.ES, b.ES)
	seg(virt.SS, b.SS)
	seg(virt.FS, b.FS)
	seg(virt.GS, b.GS)
	seg(virt.TR, b.TR)
	seg(virt.LDTR, b.LDTR)
	seg(virt.GDTR, b.GDTR)
	seg(virt.IDTR, b.IDTR)
	s.Sys[virt.CR0], s.Sys[virt.CR3], s.Sys[virt.CR4], s.Sys[virt.EFER] = b.CR0, b.CR3, b.CR4, b.EFER
	s.Regs.RFLAGS, s.Regs.RIP, s.Regs.RBX = b.RFLAGS, b.RIP, b.RBX
	if err := v.HV.Load(&s); err != nil {
		return fmt.Errorf("the first vcpu's state: %w", err)
	}
	v.SetUp(true)
	return nil
}
