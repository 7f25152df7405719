import com.sun.tools.attach.VirtualMachine;
import javax.management.MBeanServerConnection;
import javax.management.ObjectName;
import javax.management.remote.JMXConnectorFactory;
import javax.management.remote.JMXServiceURL;

/** Prints how many fetch requests of consumers the broker with this pid has answered: `java Fetches.java <pid>`. */
public class Fetches {
    public static void main(String[] args) throws Exception {
        VirtualMachine broker = VirtualMachine.attach(args[0]);
        JMXServiceURL address = new JMXServiceURL(broker.startLocalManagementAgent());
        broker.detach();
        try (var connector = JMXConnectorFactory.connect(address)) {
            MBeanServerConnection beans = connector.getMBeanServerConnection();
            var ofFetches = new ObjectName(
                "kafka.network:type=RequestMetrics,name=RequestsPerSec,request=FetchConsumer,*");
            long sum = 0;
            for (ObjectName bean : beans.queryNames(ofFetches, null)) {
                sum += ((Number) beans.getAttribute(bean, "Count")).longValue();
            }
            System.out.println(sum);
        }
    }
}
