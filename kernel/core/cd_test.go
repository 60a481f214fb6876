package core

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"nidus/drivers/block"
	"nidus/drivers/block/ram"
	"nidus/rpc/control"
)

// TestCD changes the discs of a drive: its nodes say so, a restart has the last one, and
// what was uploaded stays as long as it is in, or would be after a restart.
func TestCD(t *testing.T) {
	c, m, open := diskCore(t)
	ctx := context.Background()
	data := bytes.Repeat([]byte("disc"), 1024)
	name, err := c.Upload(ctx, "a,b.iso", sumOf(data), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	cfg := config("a")
	cfg.Disks = []string{"vdev=xc,access=r,devtype=cdrom,target=", "d,xa"}
	id, err := c.Create(ctx, cfg, control.CreateOptions{Paused: true})
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Domain(id)
	if err != nil {
		t.Fatal(err)
	}
	conn := m.Host.Store.Open(0)
	defer conn.Close()
	params := fmt.Sprintf("/local/domain/0/backend/vbd/%d/99/params", id)
	sectors := fmt.Sprintf("/local/domain/0/backend/vbd/%d/99/sectors", id)
	for _, s := range []struct {
		ref, target, sectors string
		want                 control.Code
		open                 int
	}{
		{"xc", "d", "20", 0, 0},
		{"99", "hd", "2048", 0, 1},
		{"xc", "nothing", "2048", control.ErrNoFile, 1},
		{"xc", "hd", "2048", control.ErrBadConfig, 1}, // it is in use
		{"xa", "d", "2048", control.ErrBadState, 1},
		{"xz", "d", "2048", control.ErrNoDevice, 1},
		{"xc", "", "0", 0, 0},
		{"xc", name, "8", 0, 0},
	} {
		d, err := c.ChangeCD(e, s.ref, s.target)
		if control.CodeOf(err) != s.want && (err != nil || s.want != 0) {
			t.Errorf("%s into %s: %v", s.target, s.ref, err)
		}
		if err == nil && (d.Name != "xc" || d.Spec != "vdev=xc,access=r,devtype=cdrom,target="+s.target) {
			t.Errorf("%s: %+v", s.target, d)
		}
		if v, err := conn.Read(sectors); v != s.sectors {
			t.Errorf("%s: %s sectors, want %s: %v", s.target, v, s.sectors, err)
		}
		if v, err := conn.Read(params); s.want == 0 && v != s.target {
			t.Errorf("%s: params %q, %v", s.target, v, err)
		}
		if *open != s.open {
			t.Errorf("%s: %d open", s.target, *open)
		}
	}
	if got := e.NextConfig().Disks; len(got) != 2 || got[0] != "vdev=xc,access=r,devtype=cdrom,target="+name || got[1] != "d,xa" {
		t.Errorf("a restart has %q", got)
	}
	if err := c.Discard(name); err != nil { // the uploader's own hold
		t.Error(err)
	}
	if _, err := c.FindUploaded(sumOf(data)); err != nil {
		t.Errorf("the disc in the drive: %v", err)
	}
	if err := c.Discard(name); err != nil {
		t.Error(err)
	}
	if err := c.Destroy(id); err != nil {
		t.Error(err)
	}
	if _, err := c.FindUploaded(sumOf(data)); control.CodeOf(err) != control.ErrNoFile {
		t.Errorf("the disc of a domain that is gone: %v", err)
	}
	checkDisksGone(t, c, m)
}

// TestUnfitDisc: a disc whose sectors are not 512 bytes is refused, and closed.
func TestUnfitDisc(t *testing.T) {
	c, m, open := diskCore(t)
	c.RegisterBlock("hd4k", func(bool) (block.Device, error) {
		*open++
		d, err := ram.New(ram.Config{Memory: m.Host.Memory, Bytes: 1 << 20, SectorSize: 4096})
		return counted{d, open}, err
	})
	cfg := config("a")
	cfg.Disks = []string{"vdev=xc,access=r,devtype=cdrom,target=hd4k"}
	if _, err := c.Create(context.Background(), cfg, control.CreateOptions{Paused: true}); control.CodeOf(err) != control.ErrBadConfig || *open != 0 {
		t.Errorf("%v; %d open", err, *open)
	}
	checkDisksGone(t, c, m)
}
