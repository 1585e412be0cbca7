package aip;

import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.annotation.AuthenticationPrincipal;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.annotation.RegisteredOAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.registration.ClientRegistrationRepository;
import org.springframework.security.oauth2.client.web.DefaultOAuth2AuthorizationRequestResolver;
import org.springframework.security.oauth2.client.web.OAuth2AuthorizationRequestCustomizers;
import org.springframework.security.oauth2.core.oidc.user.OidcUser;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.security.web.authentication.SimpleUrlAuthenticationFailureHandler;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** An app that signs people in with Spring Security. Its settings are in the environment (application.yaml). */
@SpringBootApplication
@RestController
public class App {
  // One person at a time: the stories look at what the app holds.
  private Map<String, Object> held = Map.of();

  public static void main(String[] arguments) {
    SpringApplication.run(App.class, arguments);
  }

  @Bean
  SecurityFilterChain security(HttpSecurity http, ClientRegistrationRepository clients) throws Exception {
    var requests = new DefaultOAuth2AuthorizationRequestResolver(clients, "/oauth2/authorization");
    requests.setAuthorizationRequestCustomizer(OAuth2AuthorizationRequestCustomizers.withPkce());
    http.authorizeHttpRequests(paths -> paths.requestMatchers("/held", "/refused").permitAll().anyRequest().authenticated());
    http.oauth2Login(login -> login
        .authorizationEndpoint(endpoint -> endpoint.authorizationRequestResolver(requests))
        .failureHandler(new SimpleUrlAuthenticationFailureHandler("/refused")));
    http.oauth2Client(Customizer.withDefaults());
    return http.build();
  }

  @GetMapping(value = "/", produces = "text/html")
  String home(@AuthenticationPrincipal OidcUser user, @RegisteredOAuth2AuthorizedClient("aip") OAuth2AuthorizedClient client) {
    held = Map.of("claims", user.getClaims(), "token", Map.of(
        "access_token", client.getAccessToken().getTokenValue(),
        "refresh_token", client.getRefreshToken().getTokenValue(),
        "id_token", user.getIdToken().getTokenValue(),
        "scope", String.join(" ", client.getAccessToken().getScopes())));
    return page("signed-in", user.getSubject());
  }

  @GetMapping(value = "/refused", produces = "text/html")
  String refused() {
    return page("refused", "the sign-in failed");
  }

  @GetMapping("/held")
  Map<String, Object> held() {
    return held;
  }

  private static String page(String mark, String text) {
    return "<!doctype html><title>App</title><main id=\"%s\">%s</main>".formatted(mark, text);
  }
}
