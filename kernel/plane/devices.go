package plane

import (
	"context"
	"time"

	"nidus/rpc/control"
)

// detachLimit is how long a guest has to let go of a device.
const detachLimit = 30 * time.Second

// DeviceList implements control.Devices.
func (p *Plane) DeviceList(ctx context.Context, id control.DomID, k control.DeviceKind) ([]control.DeviceInfo, error) {
	if k != control.DeviceBlock && k != control.DeviceNetwork {
		return p.NotYet.DeviceList(ctx, id, k)
	}
	if id == 0 {
		return nil, nil
	}
	e, err := p.entry(id)
	if err != nil {
		return nil, err
	}
	if k == control.DeviceNetwork {
		return e.VIFs(), nil
	}
	return e.Disks(), nil
}

// DeviceAttach implements control.Devices.
func (p *Plane) DeviceAttach(ctx context.Context, id control.DomID, k control.DeviceKind, spec string) (control.DeviceInfo, error) {
	if k != control.DeviceBlock && k != control.DeviceNetwork {
		return p.NotYet.DeviceAttach(ctx, id, k, spec)
	}
	e, err := p.entry(id)
	if err != nil {
		return control.DeviceInfo{}, err
	}
	if k == control.DeviceNetwork {
		return p.core.AttachVIF(e, spec)
	}
	return p.core.AttachDisk(e, spec)
}

// CDChange implements control.Devices.
func (p *Plane) CDChange(_ context.Context, id control.DomID, ref, target string) (control.DeviceInfo, error) {
	e, err := p.entry(id)
	if err != nil {
		return control.DeviceInfo{}, err
	}
	return p.core.ChangeCD(e, ref, target)
}

// DeviceDetach implements control.Devices.
func (p *Plane) DeviceDetach(ctx context.Context, id control.DomID, k control.DeviceKind, ref string, force bool) error {
	if k != control.DeviceBlock && k != control.DeviceNetwork {
		return p.NotYet.DeviceDetach(ctx, id, k, ref, force)
	}
	e, err := p.entry(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, detachLimit)
	defer cancel()
	if k == control.DeviceNetwork {
		return p.core.DetachVIF(ctx, e, ref, force)
	}
	return p.core.DetachDisk(ctx, e, ref, force)
}
