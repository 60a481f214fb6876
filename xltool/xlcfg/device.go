package xlcfg

import "errors"

// The decoding of devices: each element is parsed, so that what is wrong is
// said now, and kept as written.

// specs decodes a list of devices' specifications; a single string is a list
// of one. keep takes one that is good, and may say what is wrong with it beside
// the others.
func specs(example string, keep func(d *decoder, v Value) error) decodeFunc {
	return func(d *decoder, s *Setting) {
		list := s.Value.List
		if s.Value.Kind != List {
			list = []Value{s.Value}
		}
		for _, v := range list {
			if v.Kind == List {
				d.fail(v.Pos, "%s holds a list in a list; its elements are strings such as %q", s.Key, example)
				return
			}
			err := keep(d, v)
			var bad *SpecError
			switch {
			case errors.As(err, &bad):
				d.fail(v.at(bad.Off), "%s: %s", s.Key, bad.Msg)
			case err != nil:
				d.fail(v.Pos, "%s: %v", s.Key, err)
			}
		}
	}
}

func disk(d *decoder, v Value) error {
	disk, err := ParseDisk(v.Text)
	if err != nil {
		return err
	}
	for _, other := range d.disks {
		if other.VDev.Number == disk.VDev.Number {
			return specErrorf(0, "two disks are the same virtual device, number 0x%x: %s and %s; change one", disk.VDev.Number, other.VDev.Name, disk.VDev.Name)
		}
	}
	d.disks = append(d.disks, disk)
	d.cfg.Disks = append(d.cfg.Disks, v.Text)
	return nil
}

func vif(d *decoder, v Value) error {
	vif, err := ParseVIF(v.Text)
	if err != nil {
		return err
	}
	for _, other := range d.vifs {
		if other.MAC == vif.MAC && vif.MAC != (MAC{}) {
			return specErrorf(0, "two interfaces have the address %v; change one", vif.MAC)
		}
		if other.DevID == vif.DevID && vif.DevID >= 0 {
			return specErrorf(0, "two interfaces have devid=%d; change one", vif.DevID)
		}
	}
	d.vifs = append(d.vifs, vif)
	d.cfg.VIFs = append(d.cfg.VIFs, v.Text)
	return nil
}

func pci(d *decoder, v Value) error {
	dev, err := ParsePCI(v.Text)
	if err != nil {
		return err
	}
	for _, other := range d.pcis {
		if dev.Name == "" && other.BDF() == dev.BDF() || dev.Name != "" && other.Name == dev.Name {
			return specErrorf(0, "the device is there twice; remove one")
		}
	}
	d.pcis = append(d.pcis, dev)
	d.cfg.PCIs = append(d.cfg.PCIs, v.Text)
	return nil
}
