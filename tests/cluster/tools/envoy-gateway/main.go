// envoy-gateway reads Kubernetes objects (YAML) from standard input, hands them to the translator of Envoy
// Gateway as its controller does, and prints what comes of them as JSON: the statuses of routes and Gateways
// that it would write, and the xDS resources (listeners, routes, clusters, …) that Envoy would get. It is
// `egctl experimental translate` without the rest of that program, which takes much longer to build.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/envoyproxy/gateway/internal/gatewayapi"
	"github.com/envoyproxy/gateway/internal/gatewayapi/resource"
	"github.com/envoyproxy/gateway/internal/logging"
	"github.com/envoyproxy/gateway/internal/xds/translator"
	"google.golang.org/protobuf/encoding/protojson"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// result is what is printed.
type result struct {
	Gateways   []*gwapiv1.Gateway   `json:"gateways"`
	HTTPRoutes []*gwapiv1.HTTPRoute `json:"httpRoutes"`
	// By Gateway (`namespace/name`), then by type URL.
	Xds map[string]map[string][]json.RawMessage `json:"xds"`
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "envoy-gateway:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	// It refuses a field or value that the schemas of the Gateway API do not know.
	objects, err := resource.LoadResourcesFromYAMLBytes(text, false, nil)
	if err != nil {
		return err
	}
	if objects.GatewayClass == nil {
		return fmt.Errorf("the input has no GatewayClass")
	}
	silent := logging.DefaultLogger(io.Discard, egv1a1.LogLevelInfo)
	toIR := &gatewayapi.Translator{
		GatewayControllerName: string(objects.GatewayClass.Spec.ControllerName),
		GatewayClassName:      gwapiv1.ObjectName(objects.GatewayClass.Name),
		// Envoy goes to the address of a Service; the loader takes no EndpointSlices.
		EndpointRoutingDisabled: true,
		Logger:                  silent,
	}
	// What an object of the user does wrong stands in its status; an error repeats it.
	translated, _ := toIR.Translate(objects)
	printed := result{
		Gateways:   translated.Gateways,
		HTTPRoutes: translated.HTTPRoutes,
		Xds:        map[string]map[string][]json.RawMessage{},
	}
	for gateway, ir := range translated.XdsIR {
		toXds := &translator.Translator{Logger: silent}
		table, err := toXds.Translate(ir)
		if err != nil {
			return fmt.Errorf("%s: %w", gateway, err)
		}
		byType := map[string][]json.RawMessage{}
		for kind, all := range table.XdsResources {
			for _, one := range all {
				text, err := protojson.Marshal(one)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", gateway, kind, err)
				}
				byType[kind] = append(byType[kind], text)
			}
		}
		printed.Xds[gateway] = byType
	}
	return json.NewEncoder(out).Encode(printed)
}
