// Enforces NetworkPolicies in the cluster of the tests: policies KUBECONFIG QUEUE.
//
// Decides nothing about packets: the kernel gives the first of each connection to this program by a
// queue of netfilter, and the engine of kube-network-policies says what becomes of it. That project's
// own program has the kernel do so by nftables; here the rules are those of iptables, in `nodes`,
// because not every kernel has queues in nftables.
package main

import (
	"context"
	"log"
	"os"
	"strconv"

	"github.com/florianl/go-nfqueue/v2"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/api"
	"sigs.k8s.io/kube-network-policies/pkg/network"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
	"sigs.k8s.io/kube-network-policies/pkg/podinfo"
)

// The longest headers: 60 bytes of IPv4, and the ports.
const headerBytes = 64

// Packets that wait for their verdict; the kernel drops those beyond.
const maxWaiting = 1024

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, kubeconfig, queue string) error {
	number, err := strconv.ParseUint(queue, 10, 16)
	if err != nil {
		return err
	}
	engine, err := follow(ctx, kubeconfig)
	if err != nil {
		return err
	}
	packets, err := nfqueue.Open(&nfqueue.Config{
		NfQueue:      uint16(number),
		MaxPacketLen: headerBytes,
		MaxQueueLen:  maxWaiting,
		Copymode:     nfqueue.NfQnlCopyPacket,
	})
	if err != nil {
		return err
	}
	defer packets.Close()
	judge := func(attribute nfqueue.Attribute) int {
		verdict := nfqueue.NfDrop
		if isAllowed(ctx, engine, *attribute.Payload) {
			verdict = nfqueue.NfAccept
		}
		if err := packets.SetVerdict(*attribute.PacketID, verdict); err != nil {
			log.Print(err)
		}
		return 0
	}
	failed := func(err error) int {
		log.Print(err)
		return 0
	}
	if err := packets.RegisterWithErrorFunc(ctx, judge, failed); err != nil {
		return err
	}
	log.Print("policies are enforced")
	<-ctx.Done()
	return nil
}

// What knows all pods, namespaces and policies, and goes on to follow them.
func follow(ctx context.Context, kubeconfig string) (*networkpolicy.PolicyEngine, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	namespaces, pods := factory.Core().V1().Namespaces(), factory.Core().V1().Pods()
	policies := factory.Networking().V1().NetworkPolicies()
	byAddress, err := podinfo.NewInformerResolver(pods.Informer())
	if err != nil {
		return nil, err
	}
	known := podinfo.NewInformerProvider(pods, namespaces, nil, []podinfo.IPResolver{byAddress})
	// Both nodes are this machine, and what passes is judged once, whatever node a pod is on.
	judge := networkpolicy.NewStandardNetworkPolicy("", namespaces, pods, policies)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	return networkpolicy.NewPolicyEngine(known, []api.PolicyEvaluator{judge}), nil
}

func isAllowed(ctx context.Context, engine *networkpolicy.PolicyEngine, bytes []byte) bool {
	packet, err := network.ParsePacket(bytes)
	if err != nil {
		log.Printf("a packet that cannot be read is dropped: %v", err)
		return false
	}
	allowed, err := engine.EvaluatePacket(ctx, &packet)
	if err != nil {
		log.Print(err)
	}
	if !allowed {
		log.Printf("dropped: %s %s:%d to %s:%d", packet.Proto, packet.SrcIP, packet.SrcPort, packet.DstIP, packet.DstPort)
	}
	return allowed && err == nil
}
