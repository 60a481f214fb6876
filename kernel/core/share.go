package core

import (
	"slices"

	"nidus/kernel/domain"
	"nidus/rpc/control"
)

// SetShare changes a domain's weight and cap, which are in bounds (p.Check).
func (e *Entry) SetShare(p control.SchedParams) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.change(func(c *control.DomainConfig) { c.Sched = p })
	for _, v := range e.VCPUs {
		s := v.Sched()
		s.Weight, s.Cap = p.Weight, p.CapPercent
		v.SetSched(s)
	}
}

// Pin changes where a vcpu of a domain, which it has, or all (control.AllVCPUs)
// may run, and better runs; nil is no change. A set without a CPU that guests
// of its type run on is ErrBadArgument, and nothing has changed then.
func (c *Core) Pin(e *Entry, vcpu int, hard, soft control.CPUSet) error {
	var h, s uint64
	var err error
	possible := e.VCPUs[0].Sched().Possible
	if hard != nil {
		if h, err = c.mask(hard, possible); err != nil {
			return err
		}
	}
	if soft != nil {
		if s, err = c.mask(soft, possible); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	pin := func(v *domain.VCPU) {
		now := v.Sched()
		if hard != nil {
			now.Hard = h
			e.change(func(cfg *control.DomainConfig) { cfg.HardAffinity = c.note(cfg.HardAffinity, v.ID, hard) })
		}
		if soft != nil {
			now.Soft = s
			e.change(func(cfg *control.DomainConfig) { cfg.SoftAffinity = c.note(cfg.SoftAffinity, v.ID, soft) })
		}
		v.SetSched(now)
	}
	for _, v := range e.VCPUs {
		if vcpu == control.AllVCPUs || v.ID == vcpu {
			pin(v)
		}
	}
	return nil
}

// note returns a configuration's affinities with that of vcpu i changed. Vcpus
// before it that had no entry get one that says what none does.
func (c *Core) note(all []control.CPUList, i int, set control.CPUSet) []control.CPUList {
	all = slices.Clone(all) // others may have it from Config
	for len(all) <= i {
		all = append(all, control.CPUList{control.AnyCPU})
	}
	all[i] = set.List(c.CPUs)
	return all
}
