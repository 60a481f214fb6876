package client_test

import (
	"context"
	"errors"
	"io"
	"sync"

	"nidus/rpc/control"
)

// mirror is a control plane that notes what it is asked and answers what it is told
// to.
type mirror struct {
	mu      sync.Mutex
	method  string
	asked   []any
	answers []any // results of the next call, the error last

	progress []control.Progress // what Create tells
}

func (m *mirror) call(method string, args ...any) []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.method, m.asked = method, args
	return m.answers
}

func fail(all []any) error { err, _ := all[len(all)-1].(error); return err }

func give[T any](all []any) (T, error) { v, _ := all[0].(T); return v, fail(all) }

func (m *mirror) HostInfo(context.Context) (control.HostInfo, error) {
	return give[control.HostInfo](m.call("HostInfo"))
}
func (m *mirror) CPUs(context.Context) ([]control.CPUInfo, error) {
	return give[[]control.CPUInfo](m.call("CPUs"))
}
func (m *mirror) Memory(context.Context) (control.MemoryInfo, error) {
	return give[control.MemoryInfo](m.call("Memory"))
}
func (m *mirror) Scheduler(context.Context) (control.SchedulerInfo, error) {
	return give[control.SchedulerInfo](m.call("Scheduler"))
}
func (m *mirror) SetMemory(_ context.Context, id control.DomID, n uint64) error {
	return fail(m.call("SetMemory", id, n))
}
func (m *mirror) SetMaxMemory(_ context.Context, id control.DomID, n uint64) error {
	return fail(m.call("SetMaxMemory", id, n))
}
func (m *mirror) SetVCPUs(_ context.Context, id control.DomID, n int) error {
	return fail(m.call("SetVCPUs", id, n))
}
func (m *mirror) DeviceList(_ context.Context, id control.DomID, k control.DeviceKind) ([]control.DeviceInfo, error) {
	return give[[]control.DeviceInfo](m.call("DeviceList", id, k))
}
func (m *mirror) DeviceAttach(_ context.Context, id control.DomID, k control.DeviceKind, spec string) (control.DeviceInfo, error) {
	return give[control.DeviceInfo](m.call("DeviceAttach", id, k, spec))
}
func (m *mirror) DeviceDetach(_ context.Context, id control.DomID, k control.DeviceKind, ref string, force bool) error {
	return fail(m.call("DeviceDetach", id, k, ref, force))
}
func (m *mirror) CDChange(_ context.Context, id control.DomID, ref, target string) (control.DeviceInfo, error) {
	return give[control.DeviceInfo](m.call("CDChange", id, ref, target))
}
func (m *mirror) XenstoreRead(_ context.Context, path string) ([]byte, error) {
	return give[[]byte](m.call("XenstoreRead", path))
}
func (m *mirror) XenstoreWrite(_ context.Context, path string, v []byte) error {
	return fail(m.call("XenstoreWrite", path, v))
}
func (m *mirror) XenstoreList(_ context.Context, path string) ([]string, error) {
	return give[[]string](m.call("XenstoreList", path))
}
func (m *mirror) XenstoreRemove(_ context.Context, path string) error {
	return fail(m.call("XenstoreRemove", path))
}
func (m *mirror) XenstorePerms(_ context.Context, path string) ([]string, error) {
	return give[[]string](m.call("XenstorePerms", path))
}
func (m *mirror) XenstoreSetPerms(_ context.Context, path string, perms []string) error {
	return fail(m.call("XenstoreSetPerms", path, perms))
}
func (m *mirror) Clients(context.Context) ([]control.RemoteClient, error) {
	return give[[]control.RemoteClient](m.call("Clients"))
}
func (m *mirror) AllowClient(_ context.Context, c control.RemoteClient) error {
	return fail(m.call("AllowClient", c))
}
func (m *mirror) RevokeClient(_ context.Context, name string) error {
	return fail(m.call("RevokeClient", name))
}
func (m *mirror) Dmesg(_ context.Context, clear bool) ([]byte, error) {
	return give[[]byte](m.call("Dmesg", clear))
}
func (m *mirror) DebugKeys(_ context.Context, keys string) error {
	return fail(m.call("DebugKeys", keys))
}
func (m *mirror) PowerOff(_ context.Context, opt control.HostEndOptions) (control.HostEndStream, error) {
	return m.end(m.call("PowerOff", opt))
}
func (m *mirror) HostReboot(_ context.Context, opt control.HostEndOptions) (control.HostEndStream, error) {
	return m.end(m.call("HostReboot", opt))
}
func (m *mirror) end(answers []any) (control.HostEndStream, error) {
	all, err := give[[]control.HostEndStep](answers)
	if err != nil {
		return nil, err
	}
	return &mirrorStream[control.HostEndStep]{all: all, closed: make(chan struct{})}, nil
}
func (m *mirror) ListDomains(context.Context) ([]control.DomainInfo, error) {
	return give[[]control.DomainInfo](m.call("ListDomains"))
}
func (m *mirror) Domain(_ context.Context, ref string) (control.DomainInfo, error) {
	return give[control.DomainInfo](m.call("Domain", ref))
}
func (m *mirror) DomainConfig(_ context.Context, id control.DomID) (control.DomainConfig, error) {
	return give[control.DomainConfig](m.call("DomainConfig", id))
}
func (m *mirror) Create(ctx context.Context, cfg control.DomainConfig, opt control.CreateOptions) (control.DomID, error) {
	if tell := control.ProgressOf(ctx); tell != nil {
		for _, p := range m.progress {
			tell(p)
		}
	}
	return give[control.DomID](m.call("Create", cfg, opt))
}
func (m *mirror) SetConfig(_ context.Context, id control.DomID, cfg control.DomainConfig) error {
	return fail(m.call("SetConfig", id, cfg))
}
func (m *mirror) Destroy(_ context.Context, id control.DomID) error {
	return fail(m.call("Destroy", id))
}
func (m *mirror) Rename(_ context.Context, id control.DomID, name string) error {
	return fail(m.call("Rename", id, name))
}
func (m *mirror) Pause(_ context.Context, id control.DomID) error { return fail(m.call("Pause", id)) }
func (m *mirror) Unpause(_ context.Context, id control.DomID) error {
	return fail(m.call("Unpause", id))
}
func (m *mirror) Shutdown(_ context.Context, id control.DomID, opt control.ShutdownOptions) error {
	return fail(m.call("Shutdown", id, opt))
}
func (m *mirror) Reboot(_ context.Context, id control.DomID, opt control.ShutdownOptions) error {
	return fail(m.call("Reboot", id, opt))
}
func (m *mirror) Sysrq(_ context.Context, id control.DomID, letter byte) error {
	return fail(m.call("Sysrq", id, letter))
}
func (m *mirror) Trigger(_ context.Context, id control.DomID, t control.Trigger, vcpu int) error {
	return fail(m.call("Trigger", id, t, vcpu))
}
func (m *mirror) VCPUList(_ context.Context, id control.DomID) ([]control.VCPUInfo, error) {
	return give[[]control.VCPUInfo](m.call("VCPUList", id))
}
func (m *mirror) VCPUPin(_ context.Context, id control.DomID, vcpu int, hard, soft control.CPUSet) error {
	return fail(m.call("VCPUPin", id, vcpu, hard, soft))
}
func (m *mirror) SchedCredit2(_ context.Context, id control.DomID) (control.SchedParams, error) {
	return give[control.SchedParams](m.call("SchedCredit2", id))
}
func (m *mirror) SetSchedCredit2(_ context.Context, id control.DomID, p control.SchedParams) error {
	return fail(m.call("SetSchedCredit2", id, p))
}
func (m *mirror) Modules(context.Context) ([]control.Module, error) {
	return give[[]control.Module](m.call("Modules"))
}
func (m *mirror) Save(_ context.Context, id control.DomID, file string, keep bool) error {
	return fail(m.call("Save", id, file, keep))
}
func (m *mirror) Restore(_ context.Context, file string, opt control.CreateOptions) (control.DomID, error) {
	return give[control.DomID](m.call("Restore", file, opt))
}

// What moves streams of bytes and messages: the answer is what the stream gives.

func (m *mirror) ReadModule(_ context.Context, name string, p []byte, off int64) (int, error) {
	b, err := give[[]byte](m.call("ReadModule", name, off))
	if err != nil {
		return 0, err
	}
	if off < 0 || off > int64(len(b)) {
		return 0, control.Errorf(control.ErrBadArgument, "offset %d", off)
	}
	if n := copy(p, b[off:]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

func (m *mirror) Upload(_ context.Context, name string, sum control.FileSum, r io.Reader) (string, error) {
	b := make([]byte, sum.Size)
	if _, err := io.ReadFull(r, b); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	return give[string](m.call("Upload", name, b, sum))
}

func (m *mirror) FindUploaded(_ context.Context, sum control.FileSum) (string, error) {
	return give[string](m.call("FindUploaded", sum))
}

func (m *mirror) Discard(_ context.Context, file string) error { return fail(m.call("Discard", file)) }

func (m *mirror) Log(ctx context.Context, history bool) (io.ReadCloser, error) {
	return m.ConsoleAttach(ctx, 0, control.ConsoleOptions{History: history})
}

func (m *mirror) ConsoleAttach(ctx context.Context, id control.DomID, opt control.ConsoleOptions) (control.Console, error) {
	b, err := give[[]byte](m.call("ConsoleAttach", id, opt))
	if err != nil {
		return nil, err
	}
	c := &mirrorConsole{out: b, typed: make(chan []byte, 100)}
	c.ctx, c.cancel = context.WithCancel(ctx)
	m.mu.Lock()
	m.asked = append(m.asked, c)
	m.mu.Unlock()
	return c, nil
}

// mirrorConsole gives its output, and the end once a lone "q" was typed.
type mirrorConsole struct {
	out    []byte
	ctx    context.Context
	cancel context.CancelFunc
	typed  chan []byte
	closed sync.Once
	stuck  bool
	err    error
}

func (c *mirrorConsole) Read(b []byte) (int, error) {
	if len(c.out) > 0 {
		n := copy(b, c.out)
		c.out = c.out[n:]
		return n, nil
	}
	<-c.ctx.Done()
	return 0, io.EOF
}

func (c *mirrorConsole) Write(b []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, io.ErrClosedPipe
	}
	switch string(b) {
	case "stuck":
		<-c.ctx.Done()
		return 2, io.ErrClosedPipe
	case "q":
		c.cancel()
	}
	c.typed <- append([]byte(nil), b...)
	return len(b), nil
}

func (c *mirrorConsole) Close() error { c.cancel(); return nil }

// mirrorStream gives the answers one by one, then waits for the end.
type mirrorStream[T any] struct {
	all    []T
	closed chan struct{}
	once   sync.Once
}

func (s *mirrorStream[T]) Next(ctx context.Context) (v T, err error) {
	if len(s.all) > 0 {
		v, s.all = s.all[0], s.all[1:]
		return v, nil
	}
	select {
	case <-ctx.Done():
		return v, ctx.Err()
	case <-s.closed:
		return v, io.EOF
	}
}

func (s *mirrorStream[T]) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (m *mirror) Events(context.Context) (control.EventStream, error) {
	all, err := give[[]control.Event](m.call("Events"))
	if err != nil {
		return nil, err
	}
	s := &mirrorStream[control.Event]{all: all, closed: make(chan struct{})}
	m.note(s.closed)
	return s, nil
}

func (m *mirror) XenstoreWatch(_ context.Context, path string) (control.WatchStream, error) {
	all, err := give[[]string](m.call("XenstoreWatch", path))
	if err != nil {
		return nil, err
	}
	s := &mirrorStream[string]{all: all, closed: make(chan struct{})}
	m.note(s.closed)
	return s, nil
}

func (m *mirror) note(v any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, v)
}

var errPlain = errors.New("no kind at all")
