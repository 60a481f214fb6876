package core

import (
	"slices"
	"strings"

	"nidus/rpc/authorized"
	"nidus/rpc/control"
)

// certsWord is the module argument that marks a file of the folder certs/
// (images/media/grub.cfg). Of those there, authorizedName lists clients, and keyName has the
// host's key.
const (
	certsWord      = "certs"
	authorizedName = "authorized"
	keyName        = "host.key"
)

// Certs is what the folder certs/ says.
type Certs struct {
	Clients []control.RemoteClient
	Key     []byte // the host's, PEM; nil: there is none
}

// TakeCerts takes the files of the folder certs/ from the boot modules, which everybody
// who connects may read: a host's key is among them. It returns the others, and what those
// say; an error is that of certs/authorized, and then there are no clients.
func TakeCerts(modules []Module) (rest []Module, certs Certs, err error) {
	for _, m := range modules {
		switch {
		case !slices.Contains(strings.Fields(m.Args), certsWord):
			rest = append(rest, m)
		case m.Name == authorizedName:
			certs.Clients, err = authorized.Parse("boot module "+m.Name, m.Data)
		case m.Name == keyName:
			certs.Key = m.Data
		}
	}
	return rest, certs, err
}
