package core

import (
	"context"

	"nidus/rpc/control"
)

// change changes the configuration, and that of the next restart if it is another one.
// e.mu is held.
func (e *Entry) change(f func(*control.DomainConfig)) {
	f(&e.config)
	if e.next != nil {
		f(e.next)
	}
}

// NextConfig returns what a restart makes the domain from: Config, unless SetConfig
// gave another one.
func (e *Entry) NextConfig() control.DomainConfig {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.config
	if e.next != nil {
		c = *e.next
	}
	c.Name = e.name
	return c
}

// SetConfig changes what a restart makes the domain from, after Create's checks: a
// domain that can't be made again would be lost.
func (c *Core) SetConfig(ctx context.Context, e *Entry, cfg control.DomainConfig) error {
	uuid := control.UUID(e.UUID)
	if cfg.UUID != (control.UUID{}) && cfg.UUID != uuid {
		return control.Errorf(control.ErrBadConfig, "domain %d keeps its uuid, %s; leave uuid= out", e.ID, uuid)
	}
	cfg.UUID, cfg.Name = uuid, e.Name()
	if err := c.check(&cfg); err != nil {
		return err
	}
	release, err := c.Hold(&cfg)
	if err != nil {
		return err
	}
	if err := c.tryConfig(ctx, e, &cfg); err != nil {
		release()
		return err
	}
	e.mu.Lock()
	old := e.release
	if e.gone {
		old = release
	} else {
		e.next, e.release = &cfg, release
	}
	gone := e.gone
	e.mu.Unlock()
	old()
	if gone {
		return control.Errorf(control.ErrNoDomain, "domain %d is being destroyed", e.ID)
	}
	return nil
}

// tryConfig looks for what would make Create fail, but for memory: how much will be
// free then, nobody knows.
func (c *Core) tryConfig(ctx context.Context, e *Entry, cfg *control.DomainConfig) error {
	k, err := c.kernel(cfg)
	if err == nil {
		err = checkKernel(cfg.Type, k)
	}
	if err != nil {
		return kernelError(err)
	}
	if _, err := c.modules(cfg); err != nil {
		return err
	}
	if _, err := c.params(e.ID, 0, cfg, k.Class); err != nil {
		return err
	}
	return ctx.Err()
}
