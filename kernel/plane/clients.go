package plane

import (
	"context"

	"nidus/kernel/console"
	"nidus/rpc/control"
)

// Clients implements control.Plane.
func (p *Plane) Clients(context.Context) ([]control.RemoteClient, error) {
	return p.core.Clients.Clients(), nil
}

// AllowClient implements control.Plane.
func (p *Plane) AllowClient(_ context.Context, c control.RemoteClient) error {
	if err := p.core.Clients.Allow(c); err != nil {
		return err
	}
	p.log.Printf(console.LevelInfo, "clients: %s (%v) may connect, %v", c.Name, c.Fingerprint, c.Role)
	return nil
}

// RevokeClient implements control.Plane.
func (p *Plane) RevokeClient(_ context.Context, name string) error {
	if err := p.core.Clients.Revoke(name); err != nil {
		return err
	}
	p.log.Printf(console.LevelInfo, "clients: %s may connect no more", name)
	return nil
}
