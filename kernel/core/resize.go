package core

import (
	"nidus/mm"
	"nidus/rpc/control"
)

// bound limits a domain that was just built to the memory that it is to have at first.
func (e *Entry) bound() {
	e.special = e.Space.MaxPages() - e.config.MaxMemoryBytes>>mm.PageShift
	e.Space.SetMaxPages(e.config.MemoryBytes>>mm.PageShift + e.special)
}

// SetMemory checks what a domain is asked to have from now on, in bytes, tells the
// guest by tell, and keeps it for a restart. A guest that has less can't have more from
// then on; one that has more keeps it until it gives it back.
func (e *Entry) SetMemory(bytes uint64, tell func() error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if bytes < control.MinMemory || bytes > e.config.MaxMemoryBytes {
		return control.Errorf(control.ErrBadArgument, "%d KiB: domain %d can have %d to %d (maxmem=)", bytes>>10, e.ID, control.MinMemory>>10, e.config.MaxMemoryBytes>>10)
	}
	if err := tell(); err != nil {
		return err
	}
	pages := bytes>>mm.PageShift + e.special
	e.Space.LimitDemand(pages)
	e.Space.SetMaxPages(pages)
	e.change(func(c *control.DomainConfig) { c.MemoryBytes = min(bytes, c.MaxMemoryBytes) })
	return nil
}

// SetMaxMemory limits what a domain can have, in bytes: by itself now, and by SetMemory.
func (e *Entry) SetMaxMemory(bytes uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	bytes &^= mm.PageSize - 1
	if bytes < e.config.MemoryBytes || bytes > maxMemory {
		return control.Errorf(control.ErrBadArgument, "%d KiB: the limit of domain %d can be %d, what it is to have, to %d", bytes>>10, e.ID, e.config.MemoryBytes>>10, uint64(maxMemory)>>10)
	}
	e.Space.SetMaxPages(bytes>>mm.PageShift + e.special)
	e.change(func(c *control.DomainConfig) { c.MaxMemoryBytes = max(bytes, c.MemoryBytes) })
	return nil
}

// SetVCPUs checks how many vcpus a domain is asked to have online from now on,
// tells the guest by tell, and keeps it for a restart.
func (e *Entry) SetVCPUs(n int, tell func() error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n < 1 || n > len(e.VCPUs) {
		return control.Errorf(control.ErrBadArgument, "%d vcpus: domain %d can have 1 to %d online", n, e.ID, len(e.VCPUs))
	}
	if err := tell(); err != nil {
		return err
	}
	e.change(func(c *control.DomainConfig) { c.VCPUs = min(n, c.MaxVCPUs) })
	return nil
}
