package qcow2

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand"
	"os/exec"
	"testing"

	"nidus/drivers/block"
)

// unsound tells what qemu-img check finds in a file, but for lost clusters: "" if nothing.
func (b *bench) unsound(name string) string {
	cmd := exec.Command("qemu-img", "check", "--output=json", name)
	cmd.Dir = b.dir
	out, err := cmd.Output()
	var found struct {
		Errors int `json:"check-errors"`
		Bad    int `json:"corruptions"`
	}
	if e := json.Unmarshal(out, &found); e != nil || found.Errors+found.Bad > 0 {
		return string(out) + errors.Join(e, err).Error()
	}
	return ""
}

// TestFaultEach: whichever of the medium's requests fails, the guest's requests fail and no
// more: the image stays sound, its snapshot is as it was, and what was written is there.
func TestFaultEach(t *testing.T) {
	for n := range 6 {
		b := newBench(t)
		before := b.make(rand.New(rand.NewSource(1)), "cluster_size=512,refcount_bits=64", false, true, true)
		model := bytes.Clone(before)
		d := b.load("i", 12<<20)
		i, err := b.open(d, false)
		if err != nil {
			t.Fatal(err)
		}
		each := func() error { // clusters of several tables
			for at := 0; at < imageBytes/sector; at += 500 {
				data := bytes.Repeat([]byte{byte(at), byte(n)}, sector)
				if err := b.do(i, block.Write, at, data); err != nil {
					return err
				}
				copy(model[at*sector:], data)
			}
			for off, p := range i.meta.pages { // as if others had been used since
				if p.changed == 0 {
					delete(i.meta.pages, off)
				}
			}
			return b.do(i, block.Flush, 0, nil)
		}
		left := 27 + 4*n
		d.fault = func(*block.Request) error {
			if left--; left == 0 {
				return errors.New("medium")
			}
			return nil
		}
		_ = each()
		d.fault = nil
		for range 3 {
			if err := each(); err != nil {
				t.Fatal(n, err)
			}
		}
		if err := i.Close(); err != nil {
			t.Fatal(n, err)
		}
		b.save("i", d.b)
		if why := b.unsound("i"); why != "" {
			t.Fatal(n, why)
		}
		b.content("i", model)
		b.must("snapshot", "-a", "s", "i")
		b.content("i", before)
	}
}

// TestCountOnce: a count that can't be read while clusters are given back has none of them
// given back twice.
func TestCountOnce(t *testing.T) {
	b := newBench(t)
	b.make(rand.New(rand.NewSource(1)), "cluster_size=512,refcount_bits=64", false, true, true)
	d := b.load("i", 1<<20)
	i, err := b.open(d, false)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < imageBytes/sector; at += 500 {
		if err := b.do(i, block.Write, at, make([]byte, sector)); err != nil {
			t.Fatal(err)
		}
	}
	// As if others had been used since: the counts have to be read.
	if err := i.meta.sync(); err != nil {
		t.Fatal(err)
	}
	clear(i.meta.pages)
	want := map[uint64]uint64{}
	for _, c := range i.freed {
		if _, ok := want[c]; !ok {
			if want[c], err = i.refs(c); err != nil {
				t.Fatal(err)
			}
		}
		want[c]--
	}
	clear(i.meta.pages)
	reads := 0
	d.fault = func(r *block.Request) error {
		if reads++; r.Op == block.Read && reads > 6 {
			return errors.New("medium")
		}
		return nil
	}
	if err := b.do(i, block.Flush, 0, nil); err == nil || len(want) < 5 {
		t.Fatal(err, len(want))
	}
	d.fault = nil
	if err := b.do(i, block.Flush, 0, nil); err != nil {
		t.Error(err)
	}
	for c, n := range want {
		if got, err := i.refs(c); got != n || err != nil {
			t.Errorf("cluster %d is counted %d times, not %d: %v", c, got, n, err)
		}
	}
	if err := i.Close(); err != nil {
		t.Error(err)
	}
}
