package shell

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"nidus/rpc/control"
)

// The fake's resources, devices and xenstore.

func (f *fakePlane) CPUs(context.Context) ([]control.CPUInfo, error) {
	var out []control.CPUInfo
	for i := range 4 {
		out = append(out, control.CPUInfo{ID: i, Online: true, Socket: i / 2, Core: i % 2, Idle: time.Duration(i) * time.Second})
	}
	return out, nil
}

func (f *fakePlane) SetMemory(_ context.Context, id control.DomID, n uint64) error {
	return f.do(id, fmt.Sprintf("mem-set %d", n), func(d *fakeDomain) error {
		if n > d.info.MaxMemoryBytes {
			return control.Errorf(control.ErrBadArgument, "%d MiB are more than the domain's limit", n>>20)
		}
		d.info.MemoryBytes = n
		return nil
	})
}

func (f *fakePlane) SetMaxMemory(_ context.Context, id control.DomID, n uint64) error {
	return f.do(id, fmt.Sprintf("mem-max %d", n), func(d *fakeDomain) error { d.info.MaxMemoryBytes = n; return nil })
}

func (f *fakePlane) SetVCPUs(_ context.Context, id control.DomID, n int) error {
	return f.do(id, fmt.Sprintf("vcpu-set %d", n), func(d *fakeDomain) error { d.info.VCPUs = n; return nil })
}

func noNode(path string) error { return control.Errorf(control.ErrNoNode, "xenstore has no %s", path) }

func (f *fakePlane) Clients(context.Context) ([]control.RemoteClient, error) {
	return f.clients.Clients(), nil
}

func (f *fakePlane) AllowClient(_ context.Context, c control.RemoteClient) error {
	return f.clients.Allow(c)
}

func (f *fakePlane) RevokeClient(_ context.Context, name string) error {
	return f.clients.Revoke(name)
}

func (f *fakePlane) XenstoreRead(_ context.Context, path string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.store[path]
	if !ok {
		return nil, noNode(path)
	}
	return []byte(v), nil
}

func (f *fakePlane) XenstoreWrite(_ context.Context, path string, value []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p := path; p != ""; p = p[:strings.LastIndexByte(p, '/')] {
		if _, ok := f.store[p]; !ok || p == path {
			f.store[p] = ""
		}
	}
	f.store[path] = string(value)
	return nil
}

func (f *fakePlane) XenstoreList(_ context.Context, path string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path = strings.TrimSuffix(path, "/")
	if _, ok := f.store[path]; !ok && path != "" {
		return nil, noNode(path)
	}
	var out []string
	for _, p := range slices.Sorted(maps.Keys(f.store)) {
		if name, ok := strings.CutPrefix(p, path+"/"); ok && !strings.Contains(name, "/") {
			out = append(out, name)
		}
	}
	return out, nil
}

func (f *fakePlane) XenstoreRemove(_ context.Context, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.store, func(p, _ string) bool { return p == path || strings.HasPrefix(p, path+"/") })
	return nil
}

func (f *fakePlane) XenstorePerms(_ context.Context, path string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, ok := f.perms[path]; ok {
		return p, nil
	}
	return []string{"n0"}, nil
}

func (f *fakePlane) XenstoreSetPerms(_ context.Context, path string, perms []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.store[path]; !ok {
		return noNode(path)
	}
	for _, p := range perms {
		if p == "" || !strings.Contains("nrwb", p[:1]) {
			return control.Errorf(control.ErrBadArgument, "%q is not a permission", p)
		}
	}
	f.perms[path] = perms
	return nil
}

func (f *fakePlane) SetConfig(_ context.Context, id control.DomID, cfg control.DomainConfig) error {
	return f.do(id, fmt.Sprintf("set-config memory=%d kernel=%s", cfg.MemoryBytes>>20, cfg.Kernel), func(*fakeDomain) error { return nil })
}

// The host has uploads/old already.
func (f *fakePlane) FindUploaded(_ context.Context, sum control.FileSum) (string, error) {
	if sum.SHA256 != sha256.Sum256([]byte("old")) {
		return "", control.Errorf(control.ErrNoFile, "no such file")
	}
	return "upload:1/old", f.note("find %d bytes", sum.Size)
}

func (f *fakePlane) Upload(_ context.Context, name string, sum control.FileSum, r io.Reader) (string, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	if int64(len(b)) != sum.Size || sha256.Sum256(b) != sum.SHA256 {
		return "", control.Errorf(control.ErrBadArgument, "%q is not what was announced", b)
	}
	if string(b) == "too much" {
		return "", control.Errorf(control.ErrTooBig, "%s is too big", name)
	}
	return "upload:2/" + name, f.note("upload %s %q", name, b)
}

func (f *fakePlane) Discard(_ context.Context, file string) error { return f.note("discard %s", file) }

// localFiles are those beside xl.
var localFiles = fstest.MapFS{
	"vmlinuz": {Data: []byte("new")}, "initrd": {Data: []byte("old")}, "huge": {Data: []byte("too much")}, "empty": {}, "dir/x": {},
}

// localFile makes an fs.File of memory a File.
type localFile struct {
	fs.File
	io.Seeker
}

func openLocal(name string) (File, error) {
	f, err := localFiles.Open(name)
	if err != nil {
		return nil, err
	}
	s, _ := f.(io.Seeker)
	return localFile{f, s}, nil
}

// fakeWatch says the path, and then two nodes below.
type fakeWatch struct {
	path string
	n    int
}

func (w *fakeWatch) Close() error { return nil }
func (w *fakeWatch) Next(context.Context) (string, error) {
	if w.n++; w.n > 3 {
		return "", io.EOF
	}
	return w.path + []string{"", "/a", "/b\x1b"}[w.n-1], nil
}

func (f *fakePlane) XenstoreWatch(_ context.Context, path string) (control.WatchStream, error) {
	return &fakeWatch{path: path}, nil
}

// devicePlane is a fake that has devices too.
type devicePlane struct {
	*fakePlane
	devs map[control.DomID][]control.DeviceInfo
}

func (p *devicePlane) DeviceList(_ context.Context, id control.DomID, k control.DeviceKind) ([]control.DeviceInfo, error) {
	var out []control.DeviceInfo
	for _, d := range p.devs[id] {
		if d.Kind == k {
			out = append(out, d)
		}
	}
	return out, nil
}

func (p *devicePlane) DeviceAttach(_ context.Context, id control.DomID, k control.DeviceKind, spec string) (control.DeviceInfo, error) {
	n := len(p.devs[id])
	d := control.DeviceInfo{Kind: k, DevID: 51712 + 16*n, Name: fmt.Sprintf("%v%d", k, n), Spec: spec, State: 4}
	p.devs[id] = append(p.devs[id], d)
	return d, nil
}

func (p *devicePlane) CDChange(_ context.Context, id control.DomID, ref, target string) (control.DeviceInfo, error) {
	for i, d := range p.devs[id] {
		if d.Name == ref {
			p.devs[id][i].Spec = "target=" + target
			return p.devs[id][i], nil
		}
	}
	return control.DeviceInfo{}, control.Errorf(control.ErrNoDevice, "domain %d has no disk %s", id, ref)
}

func (p *devicePlane) DeviceDetach(_ context.Context, id control.DomID, k control.DeviceKind, ref string, force bool) error {
	n := len(p.devs[id])
	p.devs[id] = slices.DeleteFunc(p.devs[id], func(d control.DeviceInfo) bool { return d.Kind == k && d.Name == ref })
	if len(p.devs[id]) == n {
		return control.Errorf(control.ErrNoDevice, "domain %d has no %v device %q (force %v)", id, k, ref, force)
	}
	return nil
}
