package control

import "context"

// Devices attaches devices to domains that run.
type Devices interface {
	// DeviceList returns a domain's devices of one kind.
	DeviceList(ctx context.Context, id DomID, kind DeviceKind) ([]DeviceInfo, error)
	// DeviceAttach adds one; spec is written as in a configuration (disk=,
	// vif=, pci=). ErrBadConfig, ErrExists.
	DeviceAttach(ctx context.Context, id DomID, kind DeviceKind, spec string) (DeviceInfo, error)
	// DeviceDetach takes one away: ref is its DevID or name. With force it
	// doesn't wait for the guest's consent. ErrNoDevice.
	DeviceDetach(ctx context.Context, id DomID, kind DeviceKind, ref string, force bool) error
	// CDChange puts a disc into a domain's CD drive, in place of the one that is in it;
	// ref is the drive's DevID or name, target what disk= has there, "" takes the disc
	// out. The guest is not asked. ErrNoDevice, ErrNoFile; ErrBadState if the device is
	// no CD drive.
	CDChange(ctx context.Context, id DomID, ref, target string) (DeviceInfo, error)
}

// DeviceKind is a kind of devices.
type DeviceKind uint8

// The kinds.
const (
	DeviceBlock DeviceKind = iota + 1
	DeviceNetwork
	DevicePCI
)

var deviceKindNames = [...]string{DeviceBlock: "block", DeviceNetwork: "network", DevicePCI: "pci"}

// String is the word in the names of xl's subcommands.
func (k DeviceKind) String() string {
	if k >= DeviceBlock && int(k) < len(deviceKindNames) {
		return deviceKindNames[k]
	}
	return "device"
}

// DeviceInfo is a device of a domain at one moment.
type DeviceInfo struct {
	Kind DeviceKind `json:"-"`
	// DevID is its number in xenstore.
	DevID int `json:"devid"`
	// Name is what the guest sees: xvda, vif0, 0000:02:00.0.
	Name string `json:"name"`
	// Spec is what it was attached from.
	Spec string `json:"spec"`
	// Backend is the domain that serves it.
	Backend DomID `json:"backend"`
	// State is that of its xenbus node (io/xenbus.h).
	State int `json:"state"`
	// Note is what whoever made the domain has to know of it, such as that what is
	// written is lost with the domain; "" if nothing.
	Note string `json:"note,omitempty"`
}
