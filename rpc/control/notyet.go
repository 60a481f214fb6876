package control

import (
	"context"
	"io"
)

// NotYet answers ErrNotYet to all that a Plane may lack: Resources, Devices,
// Store, Files and Remote. A Plane embeds it and has what it has.
type NotYet struct{}

func notYet(what string) error {
	return Errorf(ErrNotYet, "%s is not there yet", what)
}

// CPUs implements Resources.
func (NotYet) CPUs(context.Context) ([]CPUInfo, error) { return nil, notYet("the list of CPUs") }

// Memory implements Resources.
func (NotYet) Memory(context.Context) (MemoryInfo, error) {
	return MemoryInfo{}, notYet("the account of memory")
}

// Scheduler implements Resources.
func (NotYet) Scheduler(context.Context) (SchedulerInfo, error) {
	return SchedulerInfo{}, notYet("the scheduler's description")
}

// SetMemory implements Resources.
func (NotYet) SetMemory(context.Context, DomID, uint64) error { return notYet("ballooning") }

// SetMaxMemory implements Resources.
func (NotYet) SetMaxMemory(context.Context, DomID, uint64) error {
	return notYet("a change of the limit of memory")
}

// SetVCPUs implements Resources.
func (NotYet) SetVCPUs(context.Context, DomID, int) error { return notYet("hot-plugging of vcpus") }

// DeviceList implements Devices.
func (NotYet) DeviceList(_ context.Context, _ DomID, k DeviceKind) ([]DeviceInfo, error) {
	return nil, notYet(k.String() + "-list")
}

// DeviceAttach implements Devices.
func (NotYet) DeviceAttach(_ context.Context, _ DomID, k DeviceKind, _ string) (DeviceInfo, error) {
	return DeviceInfo{}, notYet(k.String() + "-attach")
}

// DeviceDetach implements Devices.
func (NotYet) DeviceDetach(_ context.Context, _ DomID, k DeviceKind, _ string, _ bool) error {
	return notYet(k.String() + "-detach")
}

// CDChange implements Devices.
func (NotYet) CDChange(context.Context, DomID, string, string) (DeviceInfo, error) {
	return DeviceInfo{}, notYet("a CD drive")
}

// XenstoreRead implements Store.
func (NotYet) XenstoreRead(context.Context, string) ([]byte, error) { return nil, notYet("xenstore") }

// XenstoreWrite implements Store.
func (NotYet) XenstoreWrite(context.Context, string, []byte) error { return notYet("xenstore") }

// XenstoreList implements Store.
func (NotYet) XenstoreList(context.Context, string) ([]string, error) {
	return nil, notYet("xenstore")
}

// XenstoreRemove implements Store.
func (NotYet) XenstoreRemove(context.Context, string) error { return notYet("xenstore") }

// XenstorePerms implements Store.
func (NotYet) XenstorePerms(context.Context, string) ([]string, error) {
	return nil, notYet("xenstore")
}

// XenstoreSetPerms implements Store.
func (NotYet) XenstoreSetPerms(context.Context, string, []string) error { return notYet("xenstore") }

// XenstoreWatch implements Store.
func (NotYet) XenstoreWatch(context.Context, string) (WatchStream, error) {
	return nil, notYet("xenstore")
}

// Log implements Files.
func (NotYet) Log(context.Context, bool) (io.ReadCloser, error) {
	return nil, notYet("following the log")
}

// Upload implements Files.
func (NotYet) Upload(context.Context, string, FileSum, io.Reader) (string, error) {
	return "", notYet("upload of files; name a boot module instead")
}

// FindUploaded implements Files.
func (NotYet) FindUploaded(context.Context, FileSum) (string, error) {
	return "", Errorf(ErrNoFile, "no file was uploaded")
}

// Discard implements Files.
func (NotYet) Discard(_ context.Context, file string) error {
	return Errorf(ErrNoFile, "no file %q was uploaded", file)
}

// Save implements Files.
func (NotYet) Save(context.Context, DomID, string, bool) error { return notYet("save") }

// Restore implements Files.
func (NotYet) Restore(context.Context, string, CreateOptions) (DomID, error) {
	return 0, notYet("restore")
}

// Clients implements Remote.
func (NotYet) Clients(context.Context) ([]RemoteClient, error) {
	return nil, notYet("the list of clients of the network")
}

// AllowClient implements Remote.
func (NotYet) AllowClient(context.Context, RemoteClient) error {
	return notYet("the list of clients of the network")
}

// RevokeClient implements Remote.
func (NotYet) RevokeClient(context.Context, string) error {
	return notYet("the list of clients of the network")
}
