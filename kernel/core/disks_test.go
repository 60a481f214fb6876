package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"nidus/drivers/block"
	"nidus/drivers/block/ram"
	"nidus/kernel/domain/domaintest"
	"nidus/kernel/xenstore"
	"nidus/rpc/control"
)

// diskCore has a boot module d, a device hd, and disks that are written
// TARGET,NAME[,ro|qcow2|odd].
func diskCore(t *testing.T) (*Core, *domaintest.Machine, *int) {
	c, m := newCore(t)
	c.Modules = append(c.Modules, Module{Name: "d", Data: make([]byte, 10000)})
	c.ParseDisk = func(text string) (DiskSpec, error) {
		if cd, ok := strings.CutPrefix(text, "vdev="); ok { // as ChangeCD writes it
			name, rest, _ := strings.Cut(cd, ",")
			_, target, _ := strings.Cut(rest, "target=")
			return DiskSpec{Text: text, Target: target, Name: name, Number: uint32(name[len(name)-1]), Format: "raw", ReadOnly: true, CDROM: true, Phy: strings.HasPrefix(target, "hd")}, nil
		}
		f := append(strings.Split(text, ","), "", "")
		s := DiskSpec{Text: text, Target: f[0], Name: f[1], Format: "raw", ReadOnly: f[2] == "ro", Phy: strings.HasPrefix(f[0], "hd")}
		switch f[2] {
		case "qcow2":
			s.Format = f[2]
		case "odd":
			s.Missing = "no such thing"
		}
		if s.Name == "" {
			return s, errors.New("no name")
		}
		s.Number = uint32(s.Name[len(s.Name)-1])
		return s, nil
	}
	open := new(int)
	c.RegisterBlock("hd", func(bool) (block.Device, error) {
		if *open > 0 {
			return nil, errors.New("it is in use")
		}
		*open++
		d, err := ram.New(ram.Config{Memory: m.Host.Memory, Bytes: 1 << 20})
		return counted{d, open}, err
	})
	return c, m, open
}

// counted is a device that says when it is closed.
type counted struct {
	*ram.Disk
	open *int
}

func (c counted) Close() error { *c.open--; return c.Disk.Close() }

func TestDisks(t *testing.T) {
	c, m, open := diskCore(t)
	ctx := context.Background()
	cfg := config("a")
	cfg.Disks = []string{"/x/d,xa", "hd,xb", "ram:8K,xc,ro"}
	id, err := c.Create(ctx, cfg, control.CreateOptions{Paused: true})
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Domain(id)
	if err != nil {
		t.Fatal(err)
	}
	names := func() (l []string) {
		for _, d := range e.Disks() {
			l = append(l, fmt.Sprint(d.Name, " ", d.State))
		}
		return l
	}
	if l := names(); !slices.Equal(l, []string{"xa 2", "xb 2", "xc 2"}) {
		t.Errorf("%q", l)
	}
	conn := m.Host.Store.Open(0)
	defer conn.Close()
	back := fmt.Sprintf("/local/domain/0/backend/vbd/%d/97/", id)
	for n, want := range map[string]string{back + "mode": "w", back + "dev": "xa", back + "frontend-id": fmt.Sprint(id),
		fmt.Sprintf("/local/domain/0/backend/vbd/%d/99/mode", id):    "r",
		fmt.Sprintf("/local/domain/%d/device/vbd/97/backend-id", id): "0", fmt.Sprintf("/local/domain/%d/device/vbd/97/state", id): "1"} {
		if v, err := conn.Read(n); v != want {
			t.Errorf("%s is %q, %v", n, v, err)
		}
	}
	guest := m.Host.Store.Open(id)
	if err := guest.Write(back+"state", "4"); !errors.Is(err, xenstore.EACCES) {
		t.Errorf("the guest writes the backend's node: %v", err)
	}
	guest.Close()
	for spec, want := range map[string]control.Code{"d,xa": control.ErrExists, "d": control.ErrBadConfig, "hd,xd": control.ErrBadConfig, "hdx,xd": control.ErrNoFile,
		"nothing,xd": control.ErrNoFile, "d,xd,qcow2": control.ErrBadConfig, "d,xd,odd": control.ErrNotYet, ",xd": control.ErrNoFile, "ram:,xd": control.ErrBadConfig,
		"ram:8T,xd": control.ErrBadConfig, "ram:0M,xd": control.ErrBadConfig, "ram:99999999999G,xd": control.ErrBadConfig, control.UploadPrefix + "1,xd": control.ErrNoFile} {
		if _, err := c.AttachDisk(e, spec); control.CodeOf(err) != want {
			t.Errorf("%s: %v", spec, err)
		}
	}
	if d, err := c.AttachDisk(e, "d,xd"); err != nil || d.Name != "xd" || d.State != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	short, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.DetachDisk(short, e, "xb", false); err == nil || *open != 1 {
		t.Errorf("a guest that does not answer: %v", err)
	}
	if err := c.DetachDisk(ctx, e, "xb", true); err != nil || *open != 0 {
		t.Errorf("by force: %v; %d open", err, *open)
	}
	if err := c.DetachDisk(ctx, e, "98", true); control.CodeOf(err) != control.ErrNoDevice {
		t.Errorf("twice: %v", err)
	}
	if _, err := c.AttachDisk(e, "hd,xb"); err != nil || *open != 1 {
		t.Errorf("again: %v", err)
	}
	if err := c.Destroy(id); err != nil || *open != 0 {
		t.Errorf("destroy: %v; %d open", err, *open)
	}
	if _, err := c.AttachDisk(e, "d,xe"); control.CodeOf(err) != control.ErrNoDomain {
		t.Errorf("a disk for a domain that is gone: %v", err)
	}
	checkDisksGone(t, c, m)
}

// TestDiskFails: a disk that can't be had leaves no domain and no other disk.
func TestDiskFails(t *testing.T) {
	c, m, open := diskCore(t)
	for _, bad := range []string{"nothing,xc", "d,xa", "x,xc,odd"} {
		cfg := config("a")
		cfg.Disks = []string{"d,xa", "hd,xb", bad}
		if _, err := c.Create(context.Background(), cfg, control.CreateOptions{Paused: true}); err == nil || *open != 0 {
			t.Errorf("%s: %v; %d open", bad, err, *open)
		}
		checkDisksGone(t, c, m)
	}
}

// checkDisksGone is checkEmpty where domain 0 has the backends' directory, which stays.
func checkDisksGone(t *testing.T, c *Core, m *domaintest.Machine) {
	t.Helper()
	conn := m.Host.Store.Open(0)
	defer conn.Close()
	if l, err := conn.List("/local/domain/0/backend/vbd"); len(l) != 0 {
		t.Errorf("backends of %v are left, %v", l, err)
	}
	if err := conn.Rm("/local/domain/0"); err != nil {
		t.Error(err)
	}
	checkEmpty(t, c, m)
}

// TestPromised: what disks in memory may take is not there for others until they are gone.
func TestPromised(t *testing.T) {
	c, _, _ := diskCore(t)
	ctx := context.Background()
	id, err := c.Create(ctx, config("a"), control.CreateOptions{Paused: true})
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Domain(id)
	if err != nil {
		t.Fatal(err)
	}
	before := c.FreeMemory()
	if _, err := c.AttachDisk(e, fmt.Sprintf("ram:%dK,xd", before>>10)); control.CodeOf(err) != control.ErrNoMemory {
		t.Errorf("a disk of all there is: %v", err)
	}
	const size = 1 << 20
	if _, err := c.AttachDisk(e, "ram:1M,xd"); err != nil {
		t.Fatal(err)
	}
	if n := before - c.FreeMemory(); n < size || n > size+256<<10 {
		t.Errorf("%d bytes less are free", n)
	}
	big := config("b")
	big.MemoryBytes = before - size/2 - 16<<20
	big.MaxMemoryBytes = big.MemoryBytes
	if _, err := c.Create(ctx, big, control.CreateOptions{Paused: true}); control.CodeOf(err) != control.ErrNoMemory {
		t.Errorf("a domain of promised memory: %v", err)
	}
	if err := c.DetachDisk(ctx, e, "xd", true); err != nil {
		t.Fatal(err)
	}
	if n := int64(before - c.FreeMemory()); n > 256<<10 {
		t.Errorf("%d bytes are missing", n)
	}
	if err := c.Destroy(id); err != nil {
		t.Error(err)
	}
}
