package core

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"nidus/rpc/control"
)

// overlay makes a qcow2 image over a file of a name and a format.
func overlay(name, format string) []byte {
	const cluster = 64 << 10
	b, be := make([]byte, 4*cluster), binary.BigEndian
	copy(b, "QFI\xfb")
	at := 104
	be.PutUint32(b[at:], 0xe2792aca) // the extension that says the format
	be.PutUint32(b[at+4:], uint32(len(format)))
	copy(b[at+8:], format)
	copy(b[512:], name)
	for _, f := range []struct {
		at int
		v  uint32
	}{{4, 3}, {12, 512}, {16, uint32(len(name))}, {20, 16}, {28, 1 << 20}, {36, 1}, {44, 3 * cluster}, {52, cluster}, {56, 1}, {96, 4}, {100, 104}} {
		be.PutUint32(b[f.at:], f.v)
	}
	be.PutUint64(b[cluster:], 2*cluster)
	for i := range 4 {
		be.PutUint16(b[2*cluster+2*i:], 1)
	}
	return b
}

// TestBacking: what an image may have below it. Its author says that, whom nobody trusts
// with the host's disks.
func TestBacking(t *testing.T) {
	for _, x := range []struct{ name, format, want string }{
		{"d", "raw", ""},
		{"ram:16384G", "raw", ""},
		{"hd", "raw", "the host's device hd"},
		{"i", "qcow2", "in a circle"},
		{"d", "qcow2", "no qcow2 image"},
		{"d", "vmdk", "the format vmdk"},
		{"nothing", "raw", "nothing"},
	} {
		c, m, open := diskCore(t)
		c.Modules = append(c.Modules, Module{Name: "i", Data: overlay(x.name, x.format)})
		cfg := config("a")
		cfg.Disks = []string{"i,xa,qcow2"}
		id, err := c.Create(context.Background(), cfg, control.CreateOptions{Paused: true})
		if x.want == "" && err != nil || x.want != "" && (control.CodeOf(err) != control.ErrBadConfig || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s, %s: %v", x.name, x.format, err)
		}
		if err == nil {
			if err := c.Destroy(id); err != nil {
				t.Error(err)
			}
		}
		if *open != 0 {
			t.Errorf("%s: %d open", x.name, *open)
		}
		checkDisksGone(t, c, m)
	}
	// An image on a device of the host's may be over another one.
	c, _, open := diskCore(t)
	d, err := c.openBacking(DiskSpec{Target: "hd2", Phy: true}, "hd", "raw")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil || *open != 0 {
		t.Errorf("%v; %d open", err, *open)
	}
}
