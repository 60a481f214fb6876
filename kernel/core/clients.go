package core

import (
	"slices"
	"strings"

	"nidus/rpc/authorized"
	"nidus/rpc/control"
)

// certsWord is the module argument that marks a file of the folder certs/
// (images/media/grub.cfg), authorizedName the one there that lists clients.
const (
	certsWord      = "certs"
	authorizedName = "authorized"
)

// TakeCerts takes the files of the folder certs/ from the boot modules, which everybody
// who connects may read: a host's key is among them. It returns the others, and the
// clients that certs/authorized lists; an error is that file's, and then there are none.
func TakeCerts(modules []Module) (rest []Module, clients []control.RemoteClient, err error) {
	for _, m := range modules {
		switch {
		case !slices.Contains(strings.Fields(m.Args), certsWord):
			rest = append(rest, m)
		case m.Name == authorizedName:
			clients, err = authorized.Parse("boot module "+m.Name, m.Data)
		}
	}
	return rest, clients, err
}
