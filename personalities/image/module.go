package image

// Module is a file that a guest gets beside its kernel; a lone one is its ramdisk.
type Module struct {
	// Name is for messages.
	Name string
	// Data stays as it is while the guest is made.
	Data []byte
	// Cmdline is the module's own.
	Cmdline string
}
