package core

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"nidus/kernel/domain/domaintest"
	"nidus/rpc/control"
)

func sumOf(b []byte) control.FileSum {
	return control.FileSum{Size: int64(len(b)), SHA256: sha256.Sum256(b)}
}

func (c *Core) mustUpload(t *testing.T, name string, b []byte) string {
	t.Helper()
	n, err := c.Upload(context.Background(), name, sumOf(b), bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (c *Core) mustDiscard(t *testing.T, name string) {
	t.Helper()
	if err := c.Discard(name); err != nil {
		t.Error(err)
	}
}

// small lets the 40 MiB of the test's machine do: the reserve is 32.
const small = 64 << 10

func TestUploadRefused(t *testing.T) {
	c, m := newCore(t)
	var told []int64
	c.FilesChanged = func(n int64) { told = append(told, n) }
	ctx, cancel := context.WithCancel(context.Background())
	data := bytes.Repeat([]byte("x"), small)
	sum := sumOf(data)
	other, more := sum, sum
	other.SHA256[3]++
	more.Size++
	for name, x := range map[string]struct {
		sum  control.FileSum
		r    io.Reader
		want error
	}{
		"other contents": {other, bytes.NewReader(data), control.ErrBadArgument},
		"shorter":        {more, bytes.NewReader(data), io.ErrUnexpectedEOF},
		"nothing":        {sum, strings.NewReader(""), io.ErrUnexpectedEOF},
		"negative":       {control.FileSum{Size: -1}, nil, control.ErrBadArgument},
		"too big":        {control.FileSum{Size: 11 << 20}, nil, control.ErrTooBig},
		"no memory":      {control.FileSum{Size: 9 << 20}, nil, control.ErrNoMemory},
		"absurd":         {control.FileSum{Size: 1<<63 - 1}, nil, control.ErrTooBig},
		"reader":         {sum, iotest.ErrReader(io.ErrNoProgress), io.ErrNoProgress},
		"client gone":    {sum, readerFunc(func(b []byte) (int, error) { cancel(); return len(b), nil }), context.Canceled},
	} {
		use := context.Background()
		if name == "client gone" {
			use = ctx
		}
		if _, err := c.Upload(use, "dir/f", x.sum, x.r); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
		checkEmpty(t, c, m)
	}
	if len(told) == 0 || told[len(told)-1] != 0 {
		t.Errorf("told of %v bytes", told)
	}
	if _, err := c.FindUploaded(sum); !errors.Is(err, control.ErrNoFile) {
		t.Error(err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestUploadQuota(t *testing.T) {
	c, m := newCore(t)
	var names []string
	for i := range maxFiles {
		names = append(names, c.mustUpload(t, "f", []byte{byte(i)}))
	}
	if _, err := c.Upload(context.Background(), "f", control.FileSum{Size: 1}, strings.NewReader("x")); !errors.Is(err, control.ErrQuota) {
		t.Error(err)
	}
	if _, err := c.FindUploaded(sumOf([]byte{7})); err != nil { // takes nothing
		t.Error(err)
	}
	for i, n := range names {
		c.mustDiscard(t, n)
		if i == 7 {
			c.mustDiscard(t, n)
		}
		if err := c.Discard(n); !errors.Is(err, control.ErrNoFile) {
			t.Error(err)
		}
	}
	checkEmpty(t, c, m)
}

// A file's name can do no harm, and stands for its contents.
func TestUploadName(t *testing.T) {
	c, m := newCore(t)
	for name, want := range map[string]string{
		"/boot/vmlinuz": "/vmlinuz", "a b\n\x1b'": "/a_b___", "": "/", strings.Repeat("y", 300): "/" + strings.Repeat("y", 64), "k": "/k",
	} {
		a := c.mustUpload(t, name, []byte(name))
		if !strings.HasPrefix(a, control.UploadPrefix) || !strings.HasSuffix(a, want) {
			t.Errorf("%q is %q", name, a)
		}
		if b := c.mustUpload(t, "other", []byte(name)); b != a {
			t.Errorf("%q, and again %q", a, b)
		}
		c.mustDiscard(t, a)
		c.mustDiscard(t, a)
		// No module of that name instead.
		if _, err := c.Module(a); !errors.Is(err, control.ErrNoFile) {
			t.Error(err)
		}
	}
	if _, err := c.Module("local:/x/k"); !errors.Is(err, control.ErrNoFile) {
		t.Error(err)
	}
	checkEmpty(t, c, m)
}

// A file stays as long as a domain is made from it, or may be.
func TestUploadedKernel(t *testing.T) {
	c, m := newCore(t)
	kernel := c.mustUpload(t, "k", domaintest.Kernel())
	rd := c.mustUpload(t, "rd", []byte("ramdisk"))
	d := config("a")
	d.Kernel, d.Ramdisk = kernel, rd
	id, err := c.Create(context.Background(), d, control.CreateOptions{Paused: true})
	if err != nil {
		t.Fatal(err)
	}
	d.Name = "b"
	d.Ramdisk = "none"
	if _, err := c.Create(context.Background(), d, control.CreateOptions{Paused: true}); !errors.Is(err, control.ErrNoFile) {
		t.Error(err)
	}
	d.Ramdisk = control.UploadPrefix + "none"
	if _, err := c.Create(context.Background(), d, control.CreateOptions{Paused: true}); !errors.Is(err, control.ErrNoFile) {
		t.Error(err)
	}
	c.mustDiscard(t, kernel)
	c.mustDiscard(t, rd)
	if n := len(c.files.all); n != 2 {
		t.Errorf("%d files, and a domain is made from 2", n)
	}
	e, err := c.Domain(id)
	if err != nil {
		t.Fatal(err)
	}
	// A next configuration without the ramdisk lets it go.
	d.Ramdisk = ""
	if err := c.SetConfig(context.Background(), e, d); err != nil {
		t.Fatal(err)
	}
	if n := len(c.files.all); n != 1 {
		t.Errorf("%d files, and a domain is to be made from 1", n)
	}
	if got := e.Config().Ramdisk; got != rd {
		t.Errorf("what runs has changed to ramdisk %q", got)
	}
	if err := c.Destroy(id); err != nil {
		t.Error(err)
	}
	if err := c.SetConfig(context.Background(), e, config("a")); !errors.Is(err, control.ErrNoDomain) {
		t.Error(err)
	}
	checkEmpty(t, c, m)
}

// TestUploadModel: after any sequence, the files are those that somebody holds.
func TestUploadModel(t *testing.T) {
	c, m := newCore(t)
	r := rand.New(rand.NewPCG(1, 2))
	holds := map[string]int{}
	var releases []func()
	var held []string
	for range 3000 {
		b := []byte{byte(r.IntN(8))}
		name := fileName("f", sumOf(b))
		switch r.IntN(5) {
		case 0:
			if got := c.mustUpload(t, "f", b); got != name {
				t.Fatal(got)
			}
			holds[name]++
		case 1:
			if _, err := c.FindUploaded(sumOf(b)); (err == nil) != (holds[name] > 0) {
				t.Fatal(err)
			} else if err == nil {
				holds[name]++
			}
		case 2:
			n := len(releases)
			if holds[name] > 0 { // of those that are the client's
				for _, h := range held {
					if h == name {
						n = -1
					}
				}
			}
			if n < 0 {
				continue
			}
			if err := c.Discard(name); (err == nil) != (holds[name] > 0) {
				t.Fatal(err)
			} else if err == nil {
				holds[name]--
			}
		case 3:
			rel, err := c.Hold(&control.DomainConfig{Kernel: name, Ramdisk: "k"})
			if (err == nil) != (holds[name] > 0) {
				t.Fatal(err)
			}
			if err == nil {
				holds[name]++
				releases, held = append(releases, rel), append(held, name)
			}
		case 4:
			if n := len(releases); n > 0 {
				releases[n-1]()
				releases[n-1]() // no more than the first time
				holds[held[n-1]]--
				releases, held = releases[:n-1], held[:n-1]
			}
		}
		live := 0
		for _, n := range holds {
			if n > 0 {
				live++
			}
		}
		if len(c.files.all) != live || c.files.count != live || c.files.bytes != int64(live) {
			t.Fatalf("%d files of %d, %d bytes; want %d", len(c.files.all), c.files.count, c.files.bytes, live)
		}
	}
	for name, n := range holds {
		for range n {
			c.mustDiscard(t, name)
		}
	}
	checkEmpty(t, c, m)
}

func TestSetConfig(t *testing.T) {
	c, m := newCore(t)
	ctx := context.Background()
	d := config("a")
	d.MaxVCPUs = 4
	id, err := c.Create(ctx, d, control.CreateOptions{Paused: true})
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Domain(id)
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[control.Code][]func(*control.DomainConfig){
		control.ErrBadConfig:   {func(d *control.DomainConfig) { d.UUID[0] = 1 }, func(d *control.DomainConfig) { d.VCPUs = 99 }},
		control.ErrNoFile:      {func(d *control.DomainConfig) { d.Kernel = "x" }, func(d *control.DomainConfig) { d.Ramdisk = "x" }, func(d *control.DomainConfig) { d.Kernel = control.UploadPrefix }},
		control.ErrBadKernel:   {func(d *control.DomainConfig) { d.Kernel = "dir/k" }},
		control.ErrNotYet:      {func(d *control.DomainConfig) { d.PCIs = []string{"00:06.0"} }},
		control.ErrBadArgument: {func(d *control.DomainConfig) { d.HardAffinity = []control.CPUList{{{First: 63, Last: 63}}} }},
	} {
		for i, f := range change {
			d := config("a")
			if f(&d); control.CodeOf(c.SetConfig(ctx, e, d)) != want {
				t.Errorf("%v, case %d: %v", want, i, c.SetConfig(ctx, e, d))
			}
		}
	}
	if n := e.NextConfig(); n.MaxVCPUs != 4 {
		t.Errorf("a refused configuration is the next: %+v", n)
	}
	next := config("other name")
	next.MemoryBytes, next.MaxMemoryBytes, next.VCPUs, next.MaxVCPUs = 2<<20, 3<<20, 2, 2
	if err := c.SetConfig(ctx, e, next); err != nil {
		t.Fatal(err)
	}
	// What is changed from now on, within the bounds of the next, is kept for it.
	none := func() error { return nil }
	if err := errors.Join(e.SetVCPUs(3, none), e.SetMemory(4<<20, none), c.Rename(id, "b")); err != nil {
		t.Fatal(err)
	}
	e.SetShare(control.SchedParams{Weight: 99})
	n := e.NextConfig()
	if n.Name != "b" || n.UUID != control.UUID(e.UUID) || n.VCPUs != 2 || n.MemoryBytes != 3<<20 || n.Sched.Weight != 99 {
		t.Errorf("next is %+v", n)
	}
	if now := e.Config(); now.VCPUs != 3 || now.MemoryBytes != 4<<20 || now.MaxVCPUs != 4 {
		t.Errorf("now is %+v", now)
	}
	if err := c.Destroy(id); err != nil {
		t.Error(err)
	}
	checkEmpty(t, c, m)
}
